"""Who a process is to the broker, and how two of one name are told apart."""
