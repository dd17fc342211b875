"""Declared features, compiled."""
