"""Files as checked columns."""
