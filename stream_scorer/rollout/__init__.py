"""Rollout: evidence on a new model version, and the verdicts that follow from it."""
