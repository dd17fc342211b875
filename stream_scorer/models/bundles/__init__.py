"""Bundles: sign, verify, load and write them."""
