"""A device's signed rows: their contract, their hash chain, and whether they are accepted."""
