"""Bundles: read, verify, load, sign and write them."""
