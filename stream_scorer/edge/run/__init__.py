"""The process of `stream-scorer edge run`."""
