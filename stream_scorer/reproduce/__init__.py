"""Past decisions, recomputed."""
