"""The ``rollout`` commands."""
