"""River's detectors behind one interface, for a few streams of each model version."""
