"""Transactions: their fields and columns, the plan, and when a transaction is valid."""
