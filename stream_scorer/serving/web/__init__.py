"""What a request, its answer and a problem are, whichever server carries them."""
