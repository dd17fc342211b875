"""What a model version saw in training: the reference of drift detection."""
