"""One model that decides a batch alone, as plain data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import DecisionBatch, EventBatch, Rejections
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.rings.rings import Journal
from stream_scorer.core.terminals.history import TerminalTable


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch that one model decided: its decisions, and how often the model failed."""

    decisions: DecisionBatch
    accepted: NDArray[np.int64]
    rejections: Rejections
    journals: dict[int, Journal]
    failed_rows: int
    failure: str


def score(
    events: EventBatch, rings: PartitionRings, plan: Plan, model: Model,
    lap: Callable[[str], None] = lambda _: None, terminals: TerminalTable | None = None,
) -> Scored:  # fmt: skip
    """Decide a batch by one model."""
    made = decide_alone(events, rings, model, plan, lap, terminals)
    (part,) = made.decided
    assert np.array_equal(part.rows, made.accepted)
    failure = part.failure
    return Scored(
        part.decisions, made.accepted, made.rejections, made.journals,
        failure.rows if failure else 0, failure.error if failure else "",
    )  # fmt: skip
