"""Consuming, producing and committing: the transaction loop's Kafka side."""
