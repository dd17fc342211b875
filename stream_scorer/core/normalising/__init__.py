"""Raw leaves of users' records to the columns of our transactions."""
