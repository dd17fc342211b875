"""Routing: which arm of a rollout decides a transaction; a pure function of transaction and plan.

A customer's *rollout bucket* is a salted hash of the id, 0 ... 9,999. A routing gives each arm a
range of buckets. The canary's range begins at 0, the control's ends at 9,999. So bucket j and
bucket 9,999 - j are a pair, and a ramp only adds customers. An override sends customers, or
transactions of a currency or channel, to an arm by name. Such transactions are not assigned by
chance, so they are not evidence.

The salt is hashed to 64 bits (the first eight bytes of its SHA-256, little-endian), added to the
64-bit hash of the customer's id (``kernels.hashing``), and mixed by the finaliser of SplitMix64
(Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). The bucket is the
remainder of a division by 10,000.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan

Int64 = NDArray[np.int64]

BUCKETS = 10_000
CHAMPION = "champion"
CANARY = "canary"
CONTROL = "control"
OVERRIDE_FIELDS = ("currency", "channel", "customer_id")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A model version.

    Attributes:
        name: The model's name.
        version: Its version.
    """

    name: str
    version: str

    @property
    def label(self) -> str:
        """NAME:VERSION."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, slots=True)
class Slice:
    """The range of buckets of an arm: ``first`` ... ``end`` - 1."""

    arm: str
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Override:
    """Transactions with one of these values go to an arm, whatever their bucket.

    Attributes:
        field: One of ``OVERRIDE_FIELDS``.
        values: The values.
        arm: The arm.
    """

    field: str
    values: tuple[str, ...]
    arm: str


@dataclass(frozen=True, slots=True)
class Routing:
    """One revision of the plan: which arm decides which transactions.

    Attributes:
        revision: Number of the revision; that of a plan file is 0 by default.
        versions: The version of each arm; ``champion`` is always one of them.
        slices: Ranges of buckets, ascending, that cover all 10,000.
        overrides: The first one that fits applies.
        shadows: Arms that score every transaction and decide none. They are in no slice and in no
            override.
        salt: Salt of the customers' buckets.
        shared: The plan that all arms share.
        effective_at: Event time, ms, of the first transaction that this revision may decide; None:
            it may decide from the next offset on.

    Raises:
        ValueError: Slices overlap or leave a gap, or an arm has no version; the message names it.
    """

    revision: int
    versions: Mapping[str, Version]
    slices: tuple[Slice, ...] = (Slice(CHAMPION, 0, BUCKETS),)
    overrides: tuple[Override, ...] = ()
    shadows: tuple[str, ...] = ()
    salt: str = ""
    shared: Plan = field(default_factory=Plan)
    effective_at: int | None = None

    def __post_init__(self) -> None:
        edges = [0, *(s.end for s in self.slices)]
        if [s.first for s in self.slices] != edges[:-1] or edges[-1] != BUCKETS:
            raise ValueError(f"slices: must cover buckets 0 to {BUCKETS - 1} in order, once each")
        if any(end <= first for first, end in pairwise(edges)):
            raise ValueError("slices: each must hold a bucket at least")
        if CHAMPION not in self.versions:
            raise ValueError(f"versions: there must be an arm {CHAMPION!r}")
        deciding = {s.arm for s in self.slices} | {o.arm for o in self.overrides}
        for arm in (*deciding, *self.shadows):
            if arm not in self.versions:
                raise ValueError(f"arm {arm!r}: has no version")
        for arm in self.shadows:
            if arm in deciding:
                raise ValueError(f"arm {arm!r}: a shadow decides nothing")
        for override in self.overrides:
            if override.field not in OVERRIDE_FIELDS:
                known = ", ".join(OVERRIDE_FIELDS)
                raise ValueError(f"override on {override.field!r}: known fields are {known}")

    @classmethod
    def alone(cls, version: Version, shared: Plan) -> "Routing":
        """Return the routing without a rollout: one version decides everything."""
        return cls(shared.revision, {CHAMPION: version}, shared=shared)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that decide: those of the slices in order, then those of overrides alone."""
        return tuple(dict.fromkeys([s.arm for s in self.slices] + [o.arm for o in self.overrides]))

    def share(self, arm: str) -> float:
        """Return an arm's share of the buckets: the probability that a customer is in it."""
        return sum(s.end - s.first for s in self.slices if s.arm == arm) / BUCKETS


def canary_slices(buckets: int) -> tuple[Slice, ...]:
    """Return the slices of a canary with a number of buckets, and of its control.

    The control has as many buckets as the canary, if both fit. If the canary has more than half of
    them, there is no control, and the other buckets are the champion's.

    Args:
        buckets: Those of the canary, 0 ... 10,000.

    >>> [(s.arm, s.first, s.end) for s in canary_slices(500)]
    [('canary', 0, 500), ('champion', 500, 9500), ('control', 9500, 10000)]
    """
    if not 0 <= buckets <= BUCKETS:
        raise ValueError(f"a canary has 0 to {BUCKETS} buckets, not {buckets}")
    control = buckets if 2 * buckets <= BUCKETS else 0
    rest = BUCKETS - control
    found = (
        Slice(CANARY, 0, buckets), Slice(CHAMPION, buckets, rest), Slice(CONTROL, rest, BUCKETS)
    )  # fmt: skip
    return tuple(s for s in found if s.end > s.first)


def split_slices(shares: Mapping[str, int]) -> tuple[Slice, ...]:
    """Return the slices of arms with fixed numbers of buckets, in the order given.

    Args:
        shares: Buckets of each arm; they sum to 10,000.
    """
    ends = np.cumsum(list(shares.values())).tolist()
    firsts = [0, *ends[:-1]]
    return tuple(
        Slice(arm, first, end)
        for arm, first, end in zip(shares, firsts, ends, strict=True)
        if end > first
    )


def salted_buckets(customer: NDArray[np.uint64], salt: str) -> Int64:
    """Return int64[n]: each customer's rollout bucket.

    Args:
        customer: uint64[n], hashes of the ids (``kernels.hashing.hash_strings``).
        salt: Salt of the rollout.
    """
    salted = np.uint64(int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        h = customer + salted
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((h ^ (h >> np.uint64(31))) % np.uint64(BUCKETS)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Routed:
    """The arms of the rows of a batch.

    Attributes:
        arm: uint8[n], index into ``Routing.arms``.
        overridden: bool[n], whether an override sent the row to its arm.
    """

    arm: NDArray[np.uint8]
    overridden: NDArray[np.bool_]


def route(routing: Routing, events: EventBatch, customer: NDArray[np.uint64]) -> Routed:
    """Return the arm of each row.

    Args:
        routing: The revision that is active for these rows.
        events: n transactions.
        customer: uint64[n], hashes of their customers' ids.
    """
    n = len(events)
    index = {arm: at for at, arm in enumerate(routing.arms)}
    if len(routing.slices) == 1:
        arm = np.full(n, index[routing.slices[0].arm], np.uint8)
    else:
        of_slice = np.array([index[s.arm] for s in routing.slices], np.uint8)
        ends = np.array([s.end for s in routing.slices])
        arm = of_slice[np.searchsorted(ends, salted_buckets(customer, routing.salt), "right")]
    overridden = np.zeros(n, np.bool_)
    for override in routing.overrides:
        column = events.records.column(override.field)
        fits = pc.is_in(column, pa.array(override.values, column.type)).to_numpy(
            zero_copy_only=False
        )
        fits &= ~overridden
        arm[fits] = index[override.arm]
        overridden |= fits
    return Routed(arm, overridden)


@dataclass(frozen=True, slots=True)
class Activation:
    """A revision decides the records of a partition from ``offset`` on."""

    partition: int
    offset: int
    revision: int


def due_at(routing: Routing, offset: Int64, event_time: Int64, next_offset: int) -> int | None:
    """Return the offset from which a revision may decide a partition's records; None for no record.

    Args:
        routing: A revision that was known before the batch was polled.
        offset: int64[m], of the partition's valid transactions in the batch, ascending, as the
            revision's own mapping reads them.
        event_time: int64[m], their event times, ms.
        next_offset: Offset of the partition's first record in the batch, valid or not.
    """
    if routing.effective_at is None:
        return next_offset
    due = np.flatnonzero(event_time >= routing.effective_at)
    return int(offset[due[0]]) if len(due) else None


def activated(due: Sequence[int | None]) -> list[tuple[int, int]]:
    """Return the offsets at which pending revisions become active in a batch of one partition.

    Args:
        due: What ``due_at`` returned for each pending revision, revisions ascending.

    Returns:
        (offset, index into ``due``), both ascending. A revision is left out if a later one becomes
        active at the same offset or before it.
    """
    found: list[tuple[int, int]] = []
    for place, at in enumerate(due):
        if at is not None:
            found = [(o, p) for o, p in found if o < at]
            found.append((at, place))
    return found
