"""The windows of summaries, and when they close."""
