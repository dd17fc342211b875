"""The byte formats of the checkpoint, and the consistency rules for a restore."""
