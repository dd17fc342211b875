"""Stores of bundles, and which of them is deployed."""
