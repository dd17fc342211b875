"""One retraining, as its state file and the history have it."""

from collections.abc import Mapping
from dataclasses import dataclass

from stream_scorer.retraining.search.contract import SearchTrial

STEPS = (
    "triggered", "dataset", "search", "fit", "gate", "bundle", "proposed", "watched", "done",
    "failed",
)  # fmt: skip
"""Steps of a retraining; the last two end it. A kill repeats at most one of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """One retraining.

    Attributes:
        number: From 1.
        step: The step that it has reached, of :data:`STEPS`.
        reason: Why it was started or failed, for people.
        trigger: ``loss``, ``schedule`` or ``person``.
        began_at: Time of the trigger, ms since the epoch.
        digests: SHA-256 of each finished step's output in hex, by step.
        trials: The finished trials of the search.
    """

    number: int
    step: str
    reason: str
    trigger: str
    began_at: int
    digests: Mapping[str, str]
    trials: tuple[SearchTrial, ...]
