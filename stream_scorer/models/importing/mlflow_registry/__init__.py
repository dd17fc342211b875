"""Models that are registered at an MLflow server: resolves a reference, and downloads its file.

Everything that a server sends is hostile until it is judged: see ``documents``.
"""
