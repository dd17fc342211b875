"""The ``state`` commands."""
