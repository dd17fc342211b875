"""Raw leaves of users' records become the columns of our transactions."""
