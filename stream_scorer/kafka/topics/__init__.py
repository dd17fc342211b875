"""Topics, partitions, offsets, groups and lag."""
