"""Importing models of other libraries: each importer reads a file into one model as data."""
