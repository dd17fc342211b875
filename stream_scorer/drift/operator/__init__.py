"""The ``drift`` commands that change alarms."""
