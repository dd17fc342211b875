"""The process that measures how well each model version decides, as labels mature."""
