"""Signed plans and commands, and the fold of the control log."""
