"""The ``dlq`` commands and the format of dead letters."""
