"""Statistics, guards and delayed labels."""
