"""What became of each input record: numbers in, numbers out."""
