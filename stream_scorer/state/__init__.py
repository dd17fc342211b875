"""Checkpoints of the rings: their format, schedule, storage and restore."""
