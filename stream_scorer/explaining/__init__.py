"""``events explain``: what of a user's records fits a mapping, and a draft of one."""
