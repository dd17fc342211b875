"""``export``: a self-contained folder that decides on a device as the stream does."""
