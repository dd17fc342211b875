"""Alarms within one budget: family, episodes, fleet, severity."""
