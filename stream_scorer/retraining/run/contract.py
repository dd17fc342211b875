"""One retraining, as its state file and the history have it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stream_scorer.retraining.search.contract import SearchTrial

STEPS: Final = (
    "triggered", "dataset", "search", "fit", "gate", "bundle", "proposed", "watched", "done",
    "failed",
)  # fmt: skip
"""Steps of a retraining; the last two end it. A kill repeats at most one of them."""
ENDED: Final = ("done", "failed")


@dataclass(frozen=True, slots=True)
class Run:
    """One retraining.

    Attributes:
        number: From 1.
        step: The step that it has reached, of :data:`STEPS`.
        reason: Why it was started or failed, for people.
        trigger: ``loss``, ``schedule`` or ``person``.
        began_at: Time of the trigger, ms since the epoch; labels that came later do not count.
        digests: SHA-256 of each finished step's output in hex, by step.
        trials: The finished trials of the search.
        parent: NAME:VERSION of the champion at that time.
        version: Version of the bundle that is made.
        first_ms: First event time of the dataset.
        end_ms: End of the event times, exclusive.
        tolerance: The rise of the cost per decision that does not matter.
        ended_at: When it ended, ms since the epoch; 0 before.
    """

    number: int
    step: str
    reason: str
    trigger: str
    began_at: int
    digests: Mapping[str, str] = field(default_factory=dict)
    trials: tuple[SearchTrial, ...] = ()
    parent: str = ""
    version: str = ""
    first_ms: int = 0
    end_ms: int = 0
    tolerance: float = 0.0
    ended_at: int = 0

    @property
    def label(self) -> str:
        """NAME:VERSION of the bundle that is made."""
        return f"{self.parent.partition(':')[0]}:{self.version}"
