"""Finds what is unsafe in production."""
