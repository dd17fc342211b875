"""The model file of a bundle: a model as data in one documented, pickle-free format."""
