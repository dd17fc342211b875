"""The search for parameters of a model, which continues after a kill."""
