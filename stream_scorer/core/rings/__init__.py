"""The customers' history in memory, and its bytes in a checkpoint."""
