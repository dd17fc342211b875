"""The files of a device: encrypted, checked, and durable."""
