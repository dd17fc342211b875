"""The control log as a process follows it."""
