"""The arms that should have decided, by the routing that was active at a decision's offset."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import CHAMPION, Routing, Version, route
from stream_scorer.core.events.batch import EventBatch, Flag
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.reproduce.decisions import by_version

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

RoutingAt = Callable[[int, int], Routing | None]
"""Returns the routing that was active at (partition, offset); None: a version was pinned."""


@dataclass(frozen=True, slots=True)
class Arms:
    """The arms that should have decided n rows.

    Attributes:
        arm: n names.
        version: int64[n], index into ``versions``.
        versions: The versions that decide.
        revision: Revision of the plan.
        propensity: float64[n].
        fallback: bool[n], whether the champion decided instead, by the recorded flag.
    """

    arm: pa.Array
    version: Int64
    versions: tuple[Version, ...]
    revision: int
    propensity: Float64
    fallback: NDArray[np.bool_]


def routings(
    routing_at: RoutingAt, partition: int, first: int, end: int
) -> Iterator[tuple[int, int, Routing | None]]:
    """Yield (first offset, end offset, active routing) between two offsets, ascending.

    Args:
        routing_at: Called as few times as possible.
        partition: Partition of the input.
        first: First offset.
        end: The offset after the last.
    """
    while first < end:
        routing = routing_at(partition, first)
        same, other = first, end
        # Revisions only ascend, so a binary search finds where the next one begins.
        if routing_at(partition, end - 1) is routing:
            same = end - 1
        while other - same > 1:
            middle = (same + other) // 2
            if routing_at(partition, middle) is routing:
                same = middle
            else:
                other = middle
        yield first, other, routing
        first = other


def arms_of(
    decisions: pa.RecordBatch,
    events: EventBatch,
    flags: Int64,
    routing: Routing | None,
    revision: int,
) -> Arms:
    """Return the arms that should have decided.

    Args:
        decisions: n decisions; without a routing, the version that they name was the champion.
        events: Their transactions.
        flags: int64[n], recorded bits of :class:`Flag`; ``FALLBACK``: the champion decided instead.
        routing: The active routing; None: a version was pinned.
        revision: Revision of the plan file, for decisions without a routing.
    """
    n = len(decisions)
    if routing is None:
        found = list(by_version(decisions))
        version = np.zeros(n, np.int64)
        for number, (_, rows) in enumerate(found):
            version[rows] = number
        versions = tuple(each for each, _ in found)
        none: NDArray[np.bool_] = np.zeros(n, np.bool_)
        return Arms(pa.repeat(CHAMPION, n), version, versions, revision, np.ones(n), none)
    customer = hashes_of(events.records.column("customer_id"))
    routed = route(routing, events, customer)
    champion = routing.versions[CHAMPION]
    by_arm = [routing.versions[arm] for arm in routing.arms]
    versions = tuple(dict.fromkeys([*by_arm, champion]))
    place = np.array([versions.index(each) for each in by_arm])[routed.arm]
    # The champion cannot replace its own version: such a flag is not taken as given.
    fallback = ((flags & int(Flag.FALLBACK)) != 0) & (place != versions.index(champion))
    place[fallback] = versions.index(champion)
    share = np.array([routing.share(arm) for arm in routing.arms])[routed.arm]
    # An override does not choose by chance.
    share[routed.overridden] = 1.0
    arm = pa.array(routing.arms).take(pa.array(routed.arm))
    return Arms(arm, place, versions, routing.revision, share, fallback)
