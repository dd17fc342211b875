"""What a transaction turned out to be, in plain Python, rule by rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_scorer.core.labelling.contract import MOST_STATEMENTS, NO_LABEL, Statements


@dataclass(frozen=True)
class Told:
    """One statement; see :class:`~stream_scorer.core.labelling.contract.Statements`."""

    match: int = 1
    label_time: int = 0
    state: int = 1
    rank: int = 0
    label_id: int = 0
    retracts: int = 0
    drawn: float = math.nan
    partition: int = 0
    offset: int = 0
    event_time: int = 0

    @property
    def record(self) -> tuple[int, int]:
        return self.partition, self.offset

    @property
    def content(self) -> tuple[Any, ...]:
        drawn = None if math.isnan(self.drawn) else self.drawn
        return self.state, self.label_time, self.retracts, drawn


def statements(told: Sequence[Told]) -> Statements:
    """Return statements as columns, in the given order."""

    def column(name: str, kind: Any) -> Any:
        return np.array([getattr(each, name) for each in told], kind)

    return Statements(
        column("match", np.uint64), column("event_time", np.int64), column("label_time", np.int64),
        column("state", np.uint8), column("rank", np.uint8), column("label_id", np.uint64),
        column("retracts", np.uint64), column("drawn", np.float64), column("partition", np.int32),
        column("offset", np.int64),
    )  # fmt: skip


def expected(
    told: Sequence[Told], match: int, cutoff: int, event_time: int | None = None
) -> tuple[int, int, float | None, int]:
    """Return state, label time, draw and number of statements of one transaction."""
    known = {
        each.record: each
        for each in told
        if each.match == match
        and each.label_time <= cutoff
        and (event_time is None or each.event_time >= event_time)
    }
    once: dict[Any, Told] = {}
    for each in sorted(known.values(), key=lambda s: s.record):
        name = ("id", each.label_id, each.label_time) if each.label_id else each.record
        once.setdefault(name, each)
    first = sorted(once.values(), key=lambda s: (-s.rank, s.label_time, s.record))
    by_id: dict[Any, Told] = {}
    for each in sorted(first[:MOST_STATEMENTS], key=lambda s: s.record):
        by_id.setdefault(each.label_id or each.record, each)
    in_force: list[Told] = []
    latest_first = sorted(
        by_id.values(), key=lambda s: (s.label_time, s.retracts != 0, s.record), reverse=True
    )
    for each in latest_first:
        if not any(later.retracts == each.label_id != 0 for later in in_force):
            in_force.append(each)
    facts = sorted(
        (s for s in in_force if not s.retracts), key=lambda s: (s.rank, s.label_time, s.record)
    )
    drawn = [s.drawn for s in facts if not math.isnan(s.drawn)]
    if not facts:
        return NO_LABEL, 0, None, len(by_id)
    return facts[-1].state, facts[-1].label_time, drawn[-1] if drawn else None, len(by_id)
