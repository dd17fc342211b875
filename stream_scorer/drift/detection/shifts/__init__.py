"""The interface of a change detector, and our own: the guaranteed and the calibrated one."""
