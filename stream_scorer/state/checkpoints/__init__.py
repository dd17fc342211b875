"""What is kept of the state, as bytes, and the rules that it must keep."""
