"""Processes that send drift events to other systems."""
