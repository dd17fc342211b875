"""The monitor process: it watches the windows of each model version."""
