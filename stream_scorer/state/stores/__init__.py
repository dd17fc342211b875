"""The stores of the checkpoints."""
