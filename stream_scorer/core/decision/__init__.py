"""Route, score, decide, explain and summarise."""
