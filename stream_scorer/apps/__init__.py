"""Thin shells that wire the rooms into processes."""
