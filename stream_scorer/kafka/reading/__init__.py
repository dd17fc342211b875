"""Reading topics outside of the loop: to an end, on and on, or again."""
