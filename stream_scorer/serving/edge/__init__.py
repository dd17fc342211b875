"""`/v1/edge`: a device uploads its rows, and asks up to which one they are published."""
