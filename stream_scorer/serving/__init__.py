"""HTTP and gRPC: decisions in the call, and scores of feature vectors."""
