"""Models on devices: the same decisions, with the same bits."""
