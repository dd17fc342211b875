"""Copies a topic to one that is keyed by the customer, exactly once."""
