"""Records of our own schemas, one at a time or as columns."""
