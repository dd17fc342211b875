"""The delayed history of terminals."""
