"""The state of a process's partitions: restore, tracking, checkpoints."""
