"""A partition's state while a process has it: restored, kept, written."""
