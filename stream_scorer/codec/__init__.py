"""Bytes to columns and back, by schemas of the registry."""
