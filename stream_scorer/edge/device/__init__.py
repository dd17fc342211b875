"""A device's state: its log, its outbox, and the scorer that writes them."""
