"""Measures of matured decisions, with intervals: numbers in, numbers out."""
