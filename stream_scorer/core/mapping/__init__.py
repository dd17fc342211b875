"""The mapping in events.toml, checked: where a record has our fields, and its currencies' rates."""
