"""Decisions on a device: offline, by the same bundle with the same bits, and their way back."""
