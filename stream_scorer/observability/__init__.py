"""Metrics, logs and health, all rendered from events."""
