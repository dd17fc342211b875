"""Training sets from the topics: features as they were at scoring, labels as of a time."""
