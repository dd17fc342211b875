"""Which would-be BLOCKs are let through at random."""
