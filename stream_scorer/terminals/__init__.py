"""The profiler, and the scorer's follower of its rows."""
