"""Online drift detection with River."""
