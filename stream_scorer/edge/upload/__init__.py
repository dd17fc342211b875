"""Publishing a device's rows exactly once."""
