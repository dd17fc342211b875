"""Columns become Avro bytes."""
