"""The rules of `retrain.toml`, and what they decide."""
