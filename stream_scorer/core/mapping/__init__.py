"""events.toml: where a user's record has our fields, checked; and the rates of its currencies."""
