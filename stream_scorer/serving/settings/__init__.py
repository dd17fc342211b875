"""The settings of ``stream-scorer serve``."""
