"""Avro definitions, their limits and compatibility, and the registries that store them."""
