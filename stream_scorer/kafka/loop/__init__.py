"""The exactly-once loop."""
