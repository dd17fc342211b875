"""The comparison of a challenger with the champion on the same later days."""
