"""``/v2``: scores of feature vectors, by the Open Inference Protocol over REST and gRPC."""
