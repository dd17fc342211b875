"""Count what a batch contained, by segment: the summaries that drift detection reads."""
