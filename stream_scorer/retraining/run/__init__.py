"""The process that retrains: its steps, its state and its history."""
