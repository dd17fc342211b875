"""``events explain``: reports which of a user's records fit a mapping, and drafts one."""
