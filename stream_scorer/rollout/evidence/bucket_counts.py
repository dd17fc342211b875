"""Counts of each bucket since it joined a rollout, in whole numbers.

In a canary, bucket j of the canary and bucket 9,999 - j of the control are pair j. In shadow, each
bucket is a pair: the candidate's outcomes and the published ones. Sums are whole numbers, so that
they do not depend on the pieces in which rows arrive.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import BUCKETS, CANARY, CONTROL, Routing, salted_buckets
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.rollout.evidence.anytime_bounds import Sample

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

CANARY_SIDE, CONTROL_SIDE, NO_SIDE = 0, 1, 2
"""The side of a pair for which a row counts; a row of no side counts towards the looks only."""
_APPROVE: Final = 0
_COUNT, _ERRORS, _ALERTS, _APPROVED = range(4)
_SUMS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class ArmCodes:
    """The arms of n rows, each name once: the memory of a row does not depend on any name's length.

    Attributes:
        codes: By name, its number.
        code: int64[n], the number of each row's name.

    >>> ArmCodes.of(pa.array(["canary", "control", "canary"])).are("canary").tolist()
    [True, False, True]
    """

    codes: Mapping[str, int]
    code: Int64

    @classmethod
    def of(cls, names: pa.Array) -> "ArmCodes":
        """Return the arms of n names, none of them null."""
        encoded = names.dictionary_encode()
        codes = {name: code for code, name in enumerate(encoded.dictionary.to_pylist())}
        return cls(codes, np.asarray(encoded.indices, np.int64))

    def __len__(self) -> int:
        return len(self.code)

    def are(self, name: str) -> Bool:
        """Return bool[n]: which rows have an arm of this name."""
        return np.asarray(self.code == self.codes.get(name, -1), np.bool_)

    def take(self, rows: Int64 | slice) -> "ArmCodes":
        """Return some rows, in the given order."""
        return ArmCodes(self.codes, self.code[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """n decisions in the order of the stream.

    Attributes:
        customer: uint64[n], hash of the customer's id (``core.kernels.hashing.hash_strings``).
        arm: Of n rows.
        revision: int64[n], of the plan that decided.
        propensity: float64[n]; 1 where an override chose the arm.
        outcome: uint8[n], outcomes of the policy, before the draw of let-through; values of
            ``core.events.batch.Outcome``. So exploration never looks like fewer alerts.
        amount_minor: int64[n].
        error: bool[n], whether the arm's model failed for the row: the champion decided in the
            canary's place (flag ``fallback``), or there was no score (reason ``MODEL_ERROR``).
        published: uint8[n], the published outcomes.
        chance: float64[n], probability of the published outcome, given that of the policy.
    """

    customer: UInt64
    arm: ArmCodes
    revision: Int64
    propensity: Float64
    outcome: UInt8
    amount_minor: Int64
    error: Bool
    published: UInt8
    chance: Float64

    def __len__(self) -> int:
        return len(self.customer)

    def take(self, rows: Int64 | slice) -> "Decisions":
        """Return some rows, in the given order."""
        return Decisions(
            self.customer[rows], self.arm.take(rows), self.revision[rows], self.propensity[rows],
            self.outcome[rows], self.amount_minor[rows], self.error[rows], self.published[rows],
            self.chance[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Shadowed:
    """n transactions that champion and shadow both scored, in the order of the stream.

    Attributes:
        customer: uint64[n], as :attr:`Decisions.customer`.
        arm: The shadows of n rows.
        revision: int64[n].
        outcome: uint8[n], the shadow's outcome.
        error: bool[n], whether the shadow failed.
        decided: uint8[n], the outcome of the policy that decided, before the draw of let-through.
        decided_error: bool[n], whether the model of that outcome failed.
        amount_minor: int64[n].
        published: uint8[n], the published outcome.
        chance: float64[n], its probability, given ``decided``.
    """

    customer: UInt64
    arm: ArmCodes
    revision: Int64
    outcome: UInt8
    error: Bool
    decided: UInt8
    decided_error: Bool
    amount_minor: Int64
    published: UInt8
    chance: Float64

    def __len__(self) -> int:
        return len(self.customer)

    def take(self, rows: Int64 | slice) -> "Shadowed":
        """Return some rows, in the given order."""
        return Shadowed(
            self.customer[rows], self.arm.take(rows), self.revision[rows], self.outcome[rows],
            self.error[rows], self.decided[rows], self.decided_error[rows],
            self.amount_minor[rows], self.published[rows], self.chance[rows],
        )  # fmt: skip


def paired(routing: Routing) -> int:
    """Return how many pairs a routing compares: the canary's size if the control's is equal.

    >>> from stream_scorer.core.decision.routing import CHAMPION, Version, canary_slices
    >>> versions = dict.fromkeys((CHAMPION, CANARY, CONTROL), Version("fraud", "1"))
    >>> [paired(Routing(1, versions, canary_slices(n))) for n in (500, 5_000, 5_001)]
    [500, 5000, 0]
    """
    held = {s.arm: s.end - s.first for s in routing.slices}
    size = held.get(CANARY, 0)
    return size if size == held.get(CONTROL, 0) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The pair and side for which n rows count.

    Attributes:
        side: uint8[n], one of ``CANARY_SIDE``, ``CONTROL_SIDE``, ``NO_SIDE``.
        pair: int64[n]; 0 for ``NO_SIDE``.
    """

    side: UInt8
    pair: Int64


def place(rows: Decisions, salt: str, pairs: Mapping[int, int]) -> Placed:
    """Return the pair and side that each decision counts for.

    A row counts if its revision compares its bucket, its arm is that of the bucket, and the arm was
    chosen by the bucket. If an override chose it, the propensity is 1.

    Args:
        rows: n decisions.
        salt: Of the rollout.
        pairs: Number of pairs that are compared, by revision.
    """
    bucket = salted_buckets(rows.customer, salt)
    known, where = np.unique(rows.revision, return_inverse=True)
    size = np.array([pairs.get(revision, 0) for revision in known.tolist()], np.int64)[where]
    drawn = rows.propensity < 1
    canary = drawn & rows.arm.are(CANARY) & (bucket < size)
    control = drawn & rows.arm.are(CONTROL) & (bucket >= BUCKETS - size)
    side = np.where(canary, CANARY_SIDE, np.where(control, CONTROL_SIDE, NO_SIDE))
    pair = np.where(canary, bucket, np.where(control, BUCKETS - 1 - bucket, 0))
    return Placed(side.astype(np.uint8), pair)


class Tallies:
    """Sums by side and pair.

    Args:
        pairs: Maximum number of pairs.
        found: int64[4, 2, pairs], sums to continue from; None: zeros.
    """

    def __init__(self, pairs: int, found: Int64 | None = None) -> None:
        self.found = np.zeros((_SUMS, 2, pairs), np.int64) if found is None else found

    def add(
        self, side: UInt8, pair: Int64, outcome: UInt8, amount_minor: Int64, error: Bool
    ) -> None:
        """Count rows, each for its side of its pair; rows of no side are ignored.

        Args:
            side: uint8[n].
            pair: int64[n].
            outcome: uint8[n].
            amount_minor: int64[n].
            error: bool[n].
        """
        mine = np.flatnonzero(side != NO_SIDE)
        at = (side[mine].astype(np.int64), pair[mine])
        approved = outcome[mine] == _APPROVE
        np.add.at(self.found[_COUNT], at, 1)
        np.add.at(self.found[_ERRORS], at, error[mine])
        np.add.at(self.found[_ALERTS], at, ~approved)
        np.add.at(self.found[_APPROVED], at, np.where(approved, amount_minor[mine], 0))

    def samples(self, stage: Int64, minor_per_unit: int) -> dict[str, Sample]:
        """Return the samples of the guards that compare buckets.

        Args:
            stage: int64[m], stage of each of the pairs 0 ... m - 1.
            minor_per_unit: Minor units in a unit of the currency.
        """
        found = self.found[:, :, : len(stage)].astype(np.float64)
        count = found[_COUNT]
        sums = {
            "errors": found[_ERRORS],
            "alerts": found[_ALERTS],
            "approved_value": in_units(found[_APPROVED], minor_per_unit),
        }
        return {name: Sample(of[0], of[1], count[0], count[1], stage) for name, of in sums.items()}


class Slots:
    """Timed calls by time slot and side; a slot is a pair.

    There are at most 4,096 slots: if there would be more, each two neighbours are merged.

    Args:
        width_ms: Width of a slot.
        found: By slot's number: slow calls and calls of the canary's side, then of the control's.
    """

    MOST: Final = 4_096

    def __init__(self, width_ms: int = 1_000, found: Mapping[int, list[int]] | None = None) -> None:
        self._width = width_ms
        self._found = {number: list(counts) for number, counts in (found or {}).items()}

    def add(self, timestamp: int, side: int, *, slow: bool) -> None:
        """Count one call.

        Args:
            timestamp: Kafka's, ms.
            side: ``CANARY_SIDE`` or ``CONTROL_SIDE``.
            slow: Whether it took longer per row than the plan allows.
        """
        counts = self._found.setdefault(timestamp // self._width, [0, 0, 0, 0])
        counts[2 * side] += slow
        counts[2 * side + 1] += 1
        while len(self._found) > self.MOST:
            self._width *= 2
            finer, self._found = self._found, {}
            for number, counts in finer.items():
                both = self._found.setdefault(number // 2, [0, 0, 0, 0])
                for at, count in enumerate(counts):
                    both[at] += count

    def sample(self) -> Sample | None:
        """Return slow calls per call, slot by slot; None without a call."""
        if not self._found:
            return None
        counts = np.array([self._found[number] for number in sorted(self._found)], np.float64)
        slow_canary, canary, slow_control, control = counts.T
        return Sample(slow_canary, slow_control, canary, control, np.zeros(len(counts), np.int64))

    def plain(self) -> dict[str, Any]:
        """Return the slots as plain data for JSON."""
        return {"width_ms": self._width, "found": sorted([n, *c] for n, c in self._found.items())}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Slots":
        """Return the slots of a result of :meth:`plain`."""
        return cls(told["width_ms"], {number: counts for number, *counts in told["found"]})


def stages_of(pairs: Mapping[int, int]) -> Int64:
    """Return int64[m], the stage at which each pair joined; 0 is the first revision with pairs.

    Args:
        pairs: Number of pairs that are compared, by revision, in any order.

    >>> stages_of({4: 2, 7: 5, 9: 0}).tolist()
    [0, 0, 1, 1, 1]
    """
    sizes = [pairs[revision] for revision in sorted(pairs)]
    ends = np.maximum.accumulate([0, *sizes])
    steps = np.diff(ends)
    return np.repeat(np.arange(np.count_nonzero(steps)), steps[steps > 0]).astype(np.int64)


def written(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return plain data and arrays as bytes: a line of JSON, then the arrays' bytes."""
    # ``sort_keys`` sorts the names, and the arrays must be in the same order.
    ordered = dict(sorted(arrays.items()))
    told = {name: (array.dtype.str, array.shape) for name, array in ordered.items()}
    line = json.dumps({"arrays": told, **header}, sort_keys=True, allow_nan=False)
    return b"\n".join([line.encode(), b"".join(array.tobytes() for array in ordered.values())])


def read_back(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what :func:`written` wrote."""
    line, _, rest = data.partition(b"\n")
    header = json.loads(line)
    arrays, at = {}, 0
    for name, (dtype, shape) in header.pop("arrays").items():
        kind = np.dtype(dtype)
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(rest, kind, count, at).reshape(shape).copy()
        at += count * kind.itemsize
    return header, arrays
