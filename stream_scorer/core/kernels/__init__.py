"""The core's kernels: loops over rows that numba compiles; numpy arrays in and out.

They take and return arrays and numbers only. Their meaning is documented with the public functions
of the other folders: rings in ``core.rings.rings``, a bucket's bytes in ``core.rings.payload``,
terminals in ``core.terminals.history``.
"""
