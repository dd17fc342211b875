"""Detectors of a change in a stream of numbers, behind one interface."""
