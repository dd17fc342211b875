"""The pure core: columns of events in, decisions out; no clock, no randomness, no I/O."""
