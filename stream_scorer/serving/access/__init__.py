"""Who a caller is, what it may do, and how often."""
