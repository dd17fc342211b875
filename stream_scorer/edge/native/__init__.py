"""What exported folders are made of: the C kernel, and its equal in numpy.

Nothing here imports anything of stream-scorer, because it runs without it.
"""
