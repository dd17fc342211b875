"""``stream-scorer serve``: the process, its server and its probes."""
