"""Running a process: signals, workers, restarts."""
