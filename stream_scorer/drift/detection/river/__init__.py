"""River's detectors behind the interface of our own, and the registry of all."""
