"""What ``drift status``, ``explain`` and ``report`` show."""
