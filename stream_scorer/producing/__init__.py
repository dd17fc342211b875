"""Sending transactions and labels."""
