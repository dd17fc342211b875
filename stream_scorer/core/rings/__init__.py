"""The customers' history."""
