"""The verdict on outputs against input: each input record has one outcome, or is named."""

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
    """When the n verified decisions came, row for row.

    Attributes:
        place: int64[n], partition · 2^44 + offset of the input record; ascending.
        source_ms: int64[n], the input record's Kafka timestamp; -1 when it is not in the input.
        published_ms: int64[n], the decision's Kafka timestamp.
        arrived_ms: float64[n], when this reader had it.
    """

    place: Int64
    source_ms: Int64
    published_ms: Int64
    arrived_ms: Float64


@dataclass(frozen=True, slots=True)
class Scores:
    """What the n verified decisions say, in no order.

    Attributes:
        transaction_id: n strings.
        score: float64[n].
    """

    transaction_id: pa.Array
    score: Float64


@dataclass(frozen=True, slots=True)
class OutputVerdict:
    """What the outputs say of the input.

    Attributes:
        transactions: Input records, as a read-committed consumer is given them.
        decisions: Decisions for them.
        dead_letters: Dead letters for them.
        duplicates: How many decisions and dead letters are for a record that already has one.
        missing: Input records with neither.
        unexpected: Decisions and dead letters for what no read-committed consumer is given.
        unreadable: Records of the outputs that are no decision or dead letter.
        degraded: Decisions flagged degraded: they lacked what was known of terminals.
        outcomes: Decisions by outcome.
        reasons: Dead letters by reason.
        examples: The first few input places behind each of the faults, by its name.
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
    """Return a place as one number."""
    return (partition << _OFFSET_BITS) + offset


def places(partition: pa.Array, offset: pa.Array) -> Int64:
    """Return int64[n] of two columns of n rows."""
    high = partition.to_numpy(zero_copy_only=False).astype(np.int64) << _OFFSET_BITS
    return np.asarray(high + offset.to_numpy(zero_copy_only=False))


def split(number: int) -> Place:
    """Return the place that :func:`place` made a number of."""
    return number >> _OFFSET_BITS, number & ((1 << _OFFSET_BITS) - 1)


def inside(numbers: Int64, low: Mapping[int, int], high: Mapping[int, int]) -> Any:
    """Return bool[n]: whether a place lies in the bounds; an unknown partition's does, too."""
    within = np.ones(len(numbers), bool)
    partition, offset = numbers >> _OFFSET_BITS, numbers & ((1 << _OFFSET_BITS) - 1)
    for number, first in low.items():
        mine = partition == number
        within &= ~mine | ((offset >= first) & (offset < high[number]))
    return within
