"""The control log and the activations, as processes follow them."""
