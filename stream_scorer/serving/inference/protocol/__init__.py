"""The Open Inference Protocol as protobuf: its definition, and the modules generated from it."""
