"""Reading topics outside the loop: to an end, continuously, or again."""
