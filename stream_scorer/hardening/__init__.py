"""What a production system may not do without."""
