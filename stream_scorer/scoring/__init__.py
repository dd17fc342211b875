"""The scorer process."""
