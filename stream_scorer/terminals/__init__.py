"""The profiler, and the scorer's follower of its terminal profile rows."""
