"""Route, score, decide and explain."""
