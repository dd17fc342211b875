"""Rings in plain Python, written from the rules alone: slow, obvious, the tests' reference."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.aggregates import COUNT, SUM
from stream_scorer.core.kernels.folding import ADDED, CAPPED, DUPLICATE, LATE
from stream_scorer.core.kernels.observing import FILTERED_WIDTH, RingProgram
from stream_scorer.core.kernels.store import NOBODY, SLOT, SLOTS, UNITS, find
from stream_scorer.core.rings.rings import CustomerRings, Journal, Retention, RingColumns


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
        if ring:
            edge = max(ring.newest, event.time) - self._retention.horizon_ms
            remembered = [known for known in remembered if known.time > edge]
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
            # A stable sort: among equal times, the later arrival is last.
            ring.events = sorted([*ring.events, event], key=lambda known: known.time)
            # The newest stay; the event itself may be the oldest, and then it leaves.
            ring.events = ring.events[-self._retention.cap :]
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
    return np.asarray(hashes_of(pa.array(ids, pa.utf8())))


def fold(rings: CustomerRings, events: Sequence[Event]) -> tuple[Journal, list[Seen]]:
    """Fold events into the rings under test; give the journal and what each event saw."""
    return fold_with(rings, events, np.empty((0, len(events)), np.int64))


def fold_with(
    rings: CustomerRings, events: Sequence[Event], extras: "np.ndarray[Any, np.dtype[np.int64]]"
) -> tuple[Journal, list[Seen]]:
    """Likewise, with further fields: int64[f, n]."""
    n, width = len(events), len(rings._program.windows)
    verdict = np.zeros(n, np.uint8)
    observed = np.zeros((n, 2 * width))
    customers = [event.customer for event in events]
    columns = RingColumns(
        pa.array(customers, pa.utf8()),
        hashes(customers),
        hashes([event.transaction for event in events]),
        np.array([event.time for event in events], np.int64),
        np.array([event.amount for event in events], np.int64),
        extras,
    )
    journal = rings.fold(np.arange(n), columns, np.zeros(n, np.bool_), verdict, observed)
    seen = zip(
        verdict.tolist(), observed[:, :width].tolist(), observed[:, width:].tolist(), strict=True
    )
    return journal, list(seen)


def counts_and_sums(windows: Sequence[int]) -> RingProgram:
    """Return the program that counts and adds up each window, in this order, in minor units."""
    width = len(windows)
    return RingProgram(
        operations=np.array(
            [
                (kind, w, 0, -1, 0, w + at)
                for at, kind in ((0, COUNT), (width, SUM))
                for w in range(width)
            ],
            np.int64,
        ).reshape(2 * width, 6),
        windows=np.array(windows, np.int64),
        memories=np.full(2 * width, 2**40),
        missing=np.zeros(2 * width),
        scale=np.array([1.0]),
        line=np.array([width > 0]),
        filtered=np.empty((0, FILTERED_WIDTH), np.int64),
        filtered_memories=np.empty(0, np.int64),
        filtered_missing=np.empty(0),
        filtered_scales=np.empty(0),
    )


def content(rings: CustomerRings) -> list[tuple[bytes, list[int], list[int], list[int]]]:
    return [(key, t.tolist(), a.tolist(), h.tolist()) for key, t, a, h in rings.events()]


def check_blocks(rings: CustomerRings) -> None:
    """Without an open journal, live and free blocks fill the pool, without gap or overlap."""
    store = rings._store
    slots = store.slots[: int(store.counters[SLOTS])]
    spans = [
        (int(ring["block"]), int(ring["capacity"]) // 4)
        for ring in slots[slots["length"] != NOBODY]
    ]
    for size_class, first in enumerate(store.free.tolist()):
        block = first
        while block >= 0:
            assert store.tags[block] == size_class + 1
            spans.append((block, 1 << size_class))
            block = int(store.words[block * int(rings._shape[1])])
    assert np.count_nonzero(store.tags) == len(spans) - len(rings)
    at = 0
    for start, size in sorted(spans):
        assert start == at, f"the block at {start} should begin at {at}"
        at += size
    assert at == store.counters[UNITS]


def check_table(rings: CustomerRings) -> None:
    """Check that the table has exactly the customers, and that every bucket's list is intact."""
    store = rings._store
    slots = store.slots[: int(store.counters[SLOTS])]
    live = np.flatnonzero(slots["length"] != NOBODY).tolist()
    assert len(live) == len(rings)
    assert sorted((store.table[store.table >= 0] & 0x7FFFFFFF).tolist()) == live
    for slot in live:
        ring = slots[slot]
        first, length = int(ring["key"]), int(ring["length"])
        where = first, first + length
        found = find(store.table, store.slots, store.keys, ring["hash"], store.keys, *where)
        assert found == slot
    listed = []
    for bucket, head in enumerate(store.heads.tolist()):
        before, slot = -1, head
        while slot >= 0:
            ring = slots[slot]
            assert int(ring["hash"]) >> 54 == bucket
            assert ring["preceding"] == before
            listed.append(slot)
            before, slot = slot, int(ring["following"])
    assert sorted(listed) == live


def raw(rings: CustomerRings, *, without_table: bool = False) -> dict[str, bytes]:
    """Return the very bytes of all that is in use: counters, lists, slots, ids, cells, table."""
    store = rings._store
    counters = store.counters
    slots = store.slots[: int(counters[SLOTS])]
    short, unit_words = int(rings._shape[0]), int(rings._shape[1])
    found = {
        name: getattr(store, name).tobytes()
        for name in ("counters", "heads", "free_keys", "free", "table")
    }
    if without_table:
        del found["table"]
    found["tags"] = store.tags[: int(counters[UNITS])].tobytes()
    for name in SLOT.names or ():
        # A slot without a customer is in exactly one free list.
        of_all = name in ("length", "following")
        found[name] = (slots if of_all else slots[slots["length"] != NOBODY])[name].tobytes()
    cells, ids = [], []
    for ring in slots[slots["length"] != NOBODY]:
        ids.append(store.keys[ring["key"] : ring["key"] + ring["length"]].tobytes())
        capacity, first = int(ring["capacity"]), int(ring["block"]) * unit_words
        order = (int(ring["head"]) + np.arange(int(ring["count"]))) % capacity
        cells.append(store.times[(first << short) + order].tobytes())
        for column in range(2 + len(rings.fields)):
            at = first + (capacity >> short) + column * capacity
            cells.append(store.words[at + order].tobytes())
    found["cells"], found["ids"] = b"".join(cells), b"".join(ids)
    lists = []
    for block in store.free.tolist():
        at = block
        while at >= 0:
            lists.append(at)
            at = int(store.words[at * unit_words])
    for piece in store.free_keys.tolist():
        at = piece
        while at >= 0:
            lists.append(at)
            at = int(store.key_words[at // 8])
    found["lists"] = repr(lists).encode()
    return found


def stored(rings: CustomerRings, customer: str) -> list[list[int]]:
    """Return a customer's values of each further field, oldest first."""
    store = rings._store
    slots = store.slots[: int(store.counters[SLOTS])]
    sought = customer.encode()
    (ring,) = (
        slot
        for slot in slots[slots["length"] == len(sought)]
        if store.keys[slot["key"] :][: len(sought)].tobytes() == sought
    )
    capacity = int(ring["capacity"])
    order = (int(ring["head"]) + np.arange(int(ring["count"]))) % capacity
    first = int(ring["block"]) * int(rings._shape[1]) + (capacity >> int(rings._shape[0]))
    return [
        store.words[first + (2 + column) * capacity + order].tolist()
        for column in range(len(rings.fields))
    ]
