"""The verdict on outputs against input: each input record must have exactly one outcome."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.ports import Float64, Int64

Place = tuple[int, int]
"""Partition and offset in the input topic."""

_OFFSET_BITS = 44


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Arrival times of the n verified decisions, row by row.

    Attributes:
        place: int64[n], partition · 2^44 + offset of the input record; ascending.
        source_ms: int64[n], the input record's Kafka timestamp; -1 when it is not in the input.
        published_ms: int64[n], the decision's Kafka timestamp.
        arrived_ms: float64[n], when this reader received it.
    """

    place: Int64
    source_ms: Int64
    published_ms: Int64
    arrived_ms: Float64


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of the n verified decisions, in no order.

    Attributes:
        transaction_id: n strings.
        score: float64[n].
    """

    transaction_id: pa.Array
    score: Float64


@dataclass(frozen=True, slots=True)
class OutputVerdict:
    """The result of comparing outputs with input.

    Attributes:
        transactions: Input records that a read-committed consumer sees.
        decisions: Decisions for them.
        dead_letters: Dead letters for them.
        duplicates: Number of decisions and dead letters for a record that already has one.
        missing: Input records with neither.
        unexpected: Decisions and dead letters for records that no read-committed consumer sees.
        unreadable: Records of the outputs that are neither decisions nor dead letters.
        degraded: Decisions flagged degraded: terminal profile rows were missing.
        outcomes: Decisions by outcome.
        reasons: Dead letters by reason.
        examples: The first few input places of each fault, by its name.
        arrivals: Times of the decisions.
        scores: Their scores.
    """

    transactions: int
    decisions: int
    dead_letters: int
    duplicates: int
    missing: int
    unexpected: int
    unreadable: int
    degraded: int
    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]
    examples: Mapping[str, tuple[Place, ...]]
    arrivals: Arrivals
    scores: Scores

    @property
    def exactly_once(self) -> bool:
        """Whether each input record has exactly one outcome and nothing else was published."""
        return not (self.duplicates or self.missing or self.unexpected or self.unreadable)


def place(partition: int, offset: int) -> int:
    """Return a partition and offset as one number."""
    return (partition << _OFFSET_BITS) + offset


def places(partition: pa.Array, offset: pa.Array) -> Int64:
    """Return int64[n], the places of two columns of n rows."""
    high = partition.to_numpy(zero_copy_only=False).astype(np.int64) << _OFFSET_BITS
    return np.asarray(high + offset.to_numpy(zero_copy_only=False))


def split(number: int) -> Place:
    """Return the partition and offset of a number from :func:`place`."""
    return number >> _OFFSET_BITS, number & ((1 << _OFFSET_BITS) - 1)


def inside(numbers: Int64, low: Mapping[int, int], high: Mapping[int, int]) -> Any:
    """Return bool[n]: whether a place is within the bounds; true for an unknown partition."""
    within = np.ones(len(numbers), bool)
    partition, offset = numbers >> _OFFSET_BITS, numbers & ((1 << _OFFSET_BITS) - 1)
    for number, first in low.items():
        mine = partition == number
        within &= ~mine | ((offset >= first) & (offset < high[number]))
    return within
