"""Functions of a number that are bit-identical on every target.

They use additions, subtractions, multiplications and divisions of IEEE 754 in a fixed order, each
rounded, none fused with another.
"""
