"""Recomputes past decisions, and compares them with the published ones."""
