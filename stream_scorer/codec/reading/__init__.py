"""Avro bytes become columns."""
