"""The file of performance: decisions that wait for labels, matured ones, and what is to be sent."""
