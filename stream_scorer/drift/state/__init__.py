"""The monitor's snapshots in their topic."""
