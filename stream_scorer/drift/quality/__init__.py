"""Rules for the quality of the input: faults that are not drift."""
