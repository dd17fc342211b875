"""What the brokers report of many groups, in few requests a look."""
