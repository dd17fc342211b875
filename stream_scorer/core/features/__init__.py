"""Declared features: reading them, compiling them, and computing those that need no ring."""
