"""Rollouts of model versions: plans, control log, evidence, controller and commands."""
