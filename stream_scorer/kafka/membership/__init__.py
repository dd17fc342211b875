"""A process as a member of its group: its names, its fencing, and its standby."""
