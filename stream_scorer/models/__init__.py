"""Model bundles: verify, load, score, explain."""
