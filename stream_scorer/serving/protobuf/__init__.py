"""Messages of the Open Inference Protocol: their definition, and the module generated from it."""
