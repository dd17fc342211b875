"""Which label policy settles a row: that of the plan revision that decided at its offset."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.ports import Int64, Paused


class Begun(Protocol):
    """Where revisions begin; implemented by ``ActivationLog``."""

    def timeline(self, partition: int) -> list[tuple[int, int]]:
        """Return (first offset, revision) of a partition, ascending."""
        ...

    def mark_end(self) -> None:
        """Note the end that the topic has now, open transactions included."""
        ...

    def read(self) -> bool:
        """Read some records; return whether all up to the noted end are read."""
        ...


class LabelPolicies:
    """The label policies of all revisions.

    Args:
        plan: The plan file, by which records before a partition's first activation are decided.
        routings: Reads on in the control log, and returns the routing of each known revision.
        begun: Where revisions begin; None without a rollout.
    """

    def __init__(
        self,
        plan: Plan,
        routings: Callable[[], Mapping[int, Routing]] = dict,
        begun: Begun | None = None,
    ) -> None:
        self._routings = routings
        self._begun = begun
        self._first = policy_of(plan)
        self._known: dict[int, LabelPolicy] = {}

    @property
    def on(self) -> bool:
        """Whether some revision, active or not, has a label policy."""
        return self._first.on or any(each.on for each in self._read().values())

    def _read(self) -> Mapping[int, LabelPolicy]:
        for revision, routing in self._routings().items():
            if revision not in self._known:
                self._known[revision] = policy_of(routing.shared)
        return self._known

    def mark_end(self) -> None:
        """Note the end that the activations have now."""
        if self._begun is not None:
            self._begun.mark_end()

    def read(self) -> bool:
        """Read some activations; return whether all up to the noted end are read."""
        return self._begun is None or self._begun.read()

    def split(
        self, partition: NDArray[np.int32], offset: Int64
    ) -> Sequence[tuple[LabelPolicy, int, Int64]]:
        """Return (policy, revision, int64[k]): the rows that each policy settles; each row once.

        Args:
            partition: int32[n], of transactions.
            offset: int64[n].

        Raises:
            Paused: The control log is not read up to a revision that is active.
        """
        revision = np.zeros(len(partition), np.int64)
        for number in np.unique(partition).tolist() if self._begun is not None else ():
            begun = self._begun.timeline(number) if self._begun is not None else []
            firsts = np.array([first for first, _ in begun], np.int64)
            of = np.array([0, *(each for _, each in begun)], np.int64)
            mine = partition == number
            revision[mine] = of[np.searchsorted(firsts, offset[mine], side="right")]
        found = []
        for number in np.unique(revision).tolist():
            policy = self._policy(number)
            found.append((policy, number, np.flatnonzero(revision == number)))
        return found

    def _policy(self, revision: int) -> LabelPolicy:
        if not revision:
            return self._first
        policy = self._known.get(revision) or self._read().get(revision)
        if policy is None:
            raise Paused("control log", f"revision {revision} is active, and not read here yet")
        return policy


def policy_of(plan: Plan) -> LabelPolicy:
    """Return the label policy of a plan."""
    return LabelPolicy.of(read_label_policy(plan.label_policy))
