"""Bytes to columns and back, and the schemas that say how."""
