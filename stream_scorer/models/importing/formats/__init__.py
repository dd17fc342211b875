"""The formats of model files that can be imported, and which of them a file has."""
