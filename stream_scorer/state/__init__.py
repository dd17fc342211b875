"""Checkpoints of the rings: their format, their schedule, where they lie, how they come back."""
