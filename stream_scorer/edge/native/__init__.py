"""The kernel in C that scores rows, and what a browser needs for it: data files, no modules."""
