"""``/v2``: the Open Inference Protocol by REST and gRPC."""
