"""Training a model from labelled transactions."""
