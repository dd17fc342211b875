"""``/v1/decisions``: a transaction in, its published decision out."""
