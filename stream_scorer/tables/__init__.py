"""Reads files of rows as checked columns."""
