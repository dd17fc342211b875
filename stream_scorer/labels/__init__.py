"""The `labels` commands: import, and the curve of delays."""
