"""Bytes become columns: Avro and JSON, by this project's schemas or by a mapping of events.toml."""
