"""What a transaction is, and when it is valid."""
