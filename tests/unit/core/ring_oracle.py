"""Rings in plain Python, written from the rules alone: slow, obvious, the tests' authority."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from stream_scorer.core.kernels import ADDED, CAPPED, CELLS, DUPLICATE, LATE, hash_strings
from stream_scorer.core.windows import CustomerRings, Journal, Retention, string_views


class Event(NamedTuple):
    customer: str
    transaction: str
    time: int
    amount: int


Seen = tuple[int, list[int], list[int]]
"""Verdict, counts per window, sums per window."""


@dataclass
class _Ring:
    newest: int
    events: list[Event] = field(default_factory=list)


class OracleRings:
    """Keeps each customer's events in a sorted list and recounts every window."""

    def __init__(self, retention: Retention, windows: Sequence[int]) -> None:
        self._retention = retention
        self._windows = windows
        self._rings: dict[str, _Ring] = {}

    def copy(self) -> "OracleRings":
        return copy.deepcopy(self)

    def fold(self, events: Iterable[Event]) -> list[Seen]:
        return [self._fold(event) for event in events]

    def _fold(self, event: Event) -> Seen:
        ring = self._rings.get(event.customer)
        remembered = ring.events if ring else []
        if any(known.transaction == event.transaction for known in remembered):
            return DUPLICATE, [0] * len(self._windows), [0] * len(self._windows)
        verdict = ADDED
        if ring and event.time < ring.newest - self._retention.lateness_ms:
            verdict = LATE
        else:
            if ring is None:
                ring = self._rings[event.customer] = _Ring(event.time)
            ring.newest = max(ring.newest, event.time)
            edge = ring.newest - self._retention.horizon_ms
            ring.events = [known for known in ring.events if known.time > edge]
            if len(ring.events) >= self._retention.cap:
                verdict = CAPPED
                ring.events = ring.events[len(ring.events) - self._retention.cap + 1 :]
            # A stable sort: among equal times, the one that arrived later stands later.
            ring.events = sorted([*ring.events, event], key=lambda known: known.time)
            remembered = ring.events
        others = [k for k in remembered if k.time <= event.time and k is not event]
        counts, sums = [], []
        for window in self._windows:
            inside = [k.amount for k in others if k.time > event.time - window]
            counts.append(1 + len(inside))
            sums.append(event.amount + sum(inside))
        return verdict, counts, sums

    def events(self) -> Iterator[tuple[bytes, list[int], list[int], list[int]]]:
        for customer in sorted(self._rings, key=str.encode):
            known = self._rings[customer].events
            yield (
                customer.encode(),
                [k.time for k in known],
                [k.amount for k in known],
                hashes([k.transaction for k in known]).tolist(),
            )


def hashes(ids: list[str]) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return np.asarray(hash_strings(*string_views(pa.array(ids, pa.utf8()))))


def fold(rings: CustomerRings, events: Sequence[Event]) -> tuple[Journal, list[Seen]]:
    """Fold events into the rings under test; give the journal and what each event saw."""
    n, width = len(events), len(rings.windows)
    verdict = np.zeros(n, np.uint8)
    counts, sums = np.zeros((n, width), np.int64), np.zeros((n, width), np.int64)
    journal = rings.fold(
        np.arange(n),
        np.zeros(n, np.bool_),
        pa.array([event.customer for event in events], pa.utf8()),
        hashes([event.transaction for event in events]),
        np.array([event.time for event in events], np.int64),
        np.array([event.amount for event in events], np.int64),
        verdict,
        counts,
        sums,
    )
    return journal, list(zip(verdict.tolist(), counts.tolist(), sums.tolist(), strict=True))


def content(rings: CustomerRings) -> list[tuple[bytes, list[int], list[int], list[int]]]:
    return [(key, t.tolist(), a.tolist(), h.tolist()) for key, t, a, h in rings.events()]


def check_blocks(rings: CustomerRings) -> None:
    """Without an open journal, live and free blocks fill the pool, without gap or overlap."""
    slots = len(rings)
    spans = list(zip(rings._block[:slots].tolist(), rings._capacity[:slots].tolist(), strict=True))
    for size_class, first in enumerate(rings._free.tolist()):
        block = first
        while block >= 0:
            spans.append((block, 1 << size_class))
            block = int(rings._cell_time[block])
    at = 0
    for start, size in sorted(spans):
        assert start == at, f"the block at {start} should begin at {at}"
        at += size
    assert at == rings._counters[CELLS]
