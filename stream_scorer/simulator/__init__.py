"""The published transaction simulator and what it feeds."""
