"""The published transaction simulator: a city's customers, their transactions, the frauds."""

from stream_scorer.simulator.simulate import EPOCH, SCHEMA, simulate

__all__ = ["EPOCH", "SCHEMA", "simulate"]
