"""Numbers in, verdicts out: no clock and no broker."""
