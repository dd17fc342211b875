"""Updates of a device over the air, by TUF."""
