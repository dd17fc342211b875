"""The core's kernels: loops over rows that numba compiles; numpy arrays in and out.

They take and give arrays only, release the GIL, and leave their meaning to the rooms' public
functions: rings are explained in ``windows``, their bytes in ``payload``, summaries in
``summaries``.
"""
