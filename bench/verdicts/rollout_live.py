"""Judges a rollout by what it left on a broker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from bench.harness.script import Gate, missed
from stream_scorer.core.decision.routing import CANARY
from stream_scorer.ports import Int64

MOST_ACTIVATION_SECONDS = 2.0
LEAST_SHADOW_RATIO = 0.6
LEAST_RATE = 20_000
_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Decisions:
    """n decisions as columns.

    Attributes:
        partition: int32[n], of the source.
        offset: int64[n], of the source.
        customer: n ids.
        arm: n arms.
        version: n NAME:VERSION.
        revision: int64[n].
    """

    partition: NDArray[np.int32]
    offset: Int64
    customer: NDArray[np.str_]
    arm: NDArray[np.str_]
    version: NDArray[np.str_]
    revision: Int64

    def __len__(self) -> int:
        return len(self.offset)

    def where(self, mask: NDArray[np.bool_]) -> "Decisions":
        """Return the rows of a mask."""
        return Decisions(*(getattr(self, field.name)[mask] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Begun:
    """A revision began at an offset of a partition; the broker received that at ``at_ms``."""

    partition: int
    offset: int
    revision: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A revision of the rollout.

    Attributes:
        name: For people.
        revision: Its number.
        share: The canary's share of customers; None without one.
        arms: NAME:VERSION by each arm that may decide.
    """

    name: str
    revision: int
    share: float | None
    arms: Mapping[str, str]


def least_rate(per_second: int) -> int:
    """Return the minimum rate of decisions, events/s, for a rate of input."""
    return LEAST_RATE if per_second > LEAST_RATE else int(0.8 * per_second)


def counted(ends: Mapping[int, int], found: Decisions) -> dict[str, int]:
    """Return input records without a decision, and decided more than once.

    Args:
        ends: Records of each input partition.
        found: The decisions.
    """
    lost = doubled = 0
    for partition, end in ends.items():
        times = np.bincount(found.offset[found.partition == partition], minlength=end)
        lost += int((times[:end] == 0).sum())
        doubled += int((times - 1).clip(0).sum())
    return {"lost": lost, "duplicates": doubled}


def misrouted(found: Decisions, begun: Sequence[Begun], stages: Sequence[Stage]) -> dict[str, int]:
    """Return decisions that are not those of the revision that had begun at their offset.

    Returns:
        ``of_another_revision``, and ``of_another_version`` than their arm has in their revision.
    """
    expected = np.full(len(found), -1)
    for each in sorted(begun, key=lambda each: (each.partition, each.offset)):
        mine = (found.partition == each.partition) & (found.offset >= each.offset)
        expected[mine] = each.revision
    strangers = 0
    for stage in stages:
        mine = found.revision == stage.revision
        right = np.zeros(int(mine.sum()), np.bool_)
        for arm, version in stage.arms.items():
            right |= (found.arm[mine] == arm) & (found.version[mine] == version)
        strangers += int((~right).sum())
    return {
        "of_another_revision": int((expected != found.revision).sum()),
        "of_another_version": strangers,
    }


def shares(found: Decisions, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Return for each stage with a canary how many of the customers seen it had.

    A customer is dealt once, so customers are counted and not their transactions.
    """
    rows = []
    for stage in stages:
        if stage.share is None:
            continue
        mine = found.revision == stage.revision
        customers = np.unique(found.customer[mine])
        canary = np.unique(found.customer[mine & (found.arm == CANARY)])
        low, high = binom.interval(_CONFIDENCE, len(customers), stage.share)
        rows.append(
            {
                "stage": stage.name,
                "share": stage.share,
                "customers": len(customers),
                "canary": len(canary),
                "low": int(low),
                "high": int(high),
                "inside": bool(low <= len(canary) <= high),
                "decisions": int(mine.sum()),
            }
        )
    return rows


def flips(found: Decisions, ramp: Sequence[int]) -> int:
    """Return how many customers left the canary during the ramp.

    Args:
        found: The decisions.
        ramp: Revisions of the ramp.
    """
    mine = np.flatnonzero(np.isin(found.revision, list(ramp)))
    order = mine[np.lexsort((found.offset[mine], found.partition[mine], found.customer[mine]))]
    customer, canary = found.customer[order], found.arm[order] == CANARY
    left = (customer[1:] == customer[:-1]) & canary[:-1] & ~canary[1:]
    return len(np.unique(customer[1:][left]))


def after_rollback(found: Decisions, begun: Sequence[Begun], revision: int) -> int:
    """Return the canary's decisions at or after the offsets at which a rollback began."""
    late = 0
    for each in begun:
        if each.revision == revision:
            mine = (found.partition == each.partition) & (found.offset >= each.offset)
            late += int((found.arm[mine] == CANARY).sum())
    return late


def activation_seconds(
    begun: Sequence[Begun], revision: int, since_ms: int, partitions: Iterable[int]
) -> float | None:
    """Return how long after a moment a revision had begun in all partitions; None: never."""
    partitions = set(partitions)
    times = {each.partition: each.at_ms for each in begun if each.revision == revision}
    if partitions - times.keys():
        return None
    return (max(times[p] for p in partitions) - since_ms) / 1_000


_MUST_BE_ZERO = {
    "lost": "input records are not decided",
    "duplicates": "decisions are of a record that has one",
    "of_another_revision": "decisions are of another revision than had begun",
    "of_another_version": "decisions are of another version than their arm has",
    "flips": "customers left the canary during the ramp",
    "canary_after_rollback": "decisions are the canary's after the rollback began",
    "shadow_mismatches": "decisions of the shadow's stage have no score, or two",
}


def common_gates(document: Mapping[str, Any]) -> list[Gate]:
    """Return the gates of every report of a rollout under load."""
    return [
        *(
            (f"{{}} {what}", document[name], "==", 0)
            for name, what in _MUST_BE_ZERO.items()
            if name in document
        ),
        (
            "{:,} events/s were decided",
            document["events_per_second"], ">=", document["least_rate"],
        ),
    ]  # fmt: skip


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    return [
        *missed(
            *common_gates(document),
            *(
                (
                    f"{row['stage']}: began {{}} s after its command",
                    row["seconds"], "<=", MOST_ACTIVATION_SECONDS,
                )
                for row in document["activations"]
            ),
            (
                "with a shadow {} of the throughput",
                document["shadow_ratio"], ">=", LEAST_SHADOW_RATIO,
            ),
        ),
        *(
            f"{row['stage']}: {row['canary']} of {row['customers']} customers, expected "
            f"{row['low']} to {row['high']}"
            for row in document["shares"]
            if not row["inside"]
        ),
    ]  # fmt: skip
