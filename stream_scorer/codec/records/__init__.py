"""Records: decisions and transactions in batches, other records one at a time."""
