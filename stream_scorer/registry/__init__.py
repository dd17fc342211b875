"""Avro definitions, their limits and compatibility, and the registries that keep them."""
