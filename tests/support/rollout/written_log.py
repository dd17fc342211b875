"""A control log and activations that a test writes in memory."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from stream_scorer.core.decision.routing import Routing
from stream_scorer.reproduce.routings import RecordedRoutings


class Log:
    """A control log that a test writes."""

    def __init__(self) -> None:
        self.routings: dict[int, Routing] = {}
        self._added: list[Routing] = []
        self.trained: dict[str, Any] = {}

    @property
    def log(self) -> Any:
        state = SimpleNamespace(revision=max(self.routings, default=0), trained=self.trained)
        return SimpleNamespace(routings=self.routings, state=state)

    def add(self, *routings: Routing) -> None:
        self._added.extend(routings)

    def refresh(self) -> None:
        self.poll(0)

    def poll(self, _: float) -> None:
        added, self._added = self._added, []
        self.routings = self.routings | {each.revision: each for each in added}

    def close(self) -> None: ...


class Recorded(RecordedRoutings):
    """A control log with activations.

    Args:
        routings: The revisions, ascending.
        begun: (first offset, revision) of each partition, ascending.
    """

    def __init__(
        self, routings: Sequence[Routing], begun: Mapping[int, Sequence[tuple[int, int]]]
    ) -> None:
        self._routings = {each.revision: each for each in routings}
        self._timelines = {
            partition: ([offset for offset, _ in each], [revision for _, revision in each])
            for partition, each in begun.items()
        }
