"""How well each model version decides, as labels mature."""
