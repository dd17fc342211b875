"""The scorers of a stage: started as operators start them, and supervised as they should be."""

import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_scorer.settings import Kafka
from tests.faults.suite import scorer_with_hooks
from tests.support.faults.process import ScorerProcess

_SHUTDOWN_SECONDS = 15.0
_UNAVAILABLE = 5
_SAID = 2_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a scorer is started with.

    Attributes:
        kafka: Its settings.
        hooks: What only tests have in it, see ``suite/scorer_with_hooks.py``.
        instance: Its instance name.
        variables: Further environment variables.
        arguments: Further arguments.
    """

    kafka: Kafka
    hooks: Sequence[str] = ()
    instance: str = "0"
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()


class SupervisedScorers:
    """Scorers, killed at the context's end.

    Args:
        folder: Where what they write is kept.

    Attributes:
        restarts: How often one was started again because it left for want of a broker.
    """

    def __init__(self, folder: Path) -> None:
        self.restarts = 0
        self._folder = folder
        self._stack = ExitStack()
        self._members: list[tuple[ScorerProcess, Order]] = []
        self._started = 0

    def start(self, order: Order) -> ScorerProcess:
        """Start one; the first of all names where the group begins."""
        first = ("--from", "earliest") if not self._started else ()
        self._started += 1
        options: dict[str, Any] = {"fresh": True}
        if order.hooks:
            options["program"] = scorer_with_hooks.program(*order.hooks)
        scorer = ScorerProcess(
            order.kafka.model_copy(update={"instance": order.instance}),
            self._folder / f"scorer-{self._started}.log",
            *first,
            *order.arguments,
            variables={**scorer_with_hooks.variables(), **order.variables},
            **options,
        )
        self._stack.enter_context(scorer)
        self._members.append((scorer, order))
        return scorer

    def supervise(self) -> None:
        """Start those again that left because brokers were away, as their exit code asks for."""
        for member in list(self._members):
            scorer, order = member
            if not scorer.alive and scorer.wait() == _UNAVAILABLE:
                self._members.remove(member)
                self.restarts += 1
                self.start(order)

    def running(self, instance: str) -> ScorerProcess | None:
        """Return the scorer of an instance's name that runs; None when there is none."""
        mine = (s for s, order in self._members if order.instance == instance and s.alive)
        return next(mine, None)

    def stop_others(self, instances: Collection[str]) -> None:
        """End those in good order that have none of these names; forget those that have ended."""
        for scorer, order in self._members:
            if scorer.alive and order.instance not in instances:
                self.stop(scorer)
        self._members = [(scorer, order) for scorer, order in self._members if scorer.alive]

    def stop(self, scorer: ScorerProcess) -> None:
        """End one in good order."""
        scorer.send(signal.SIGTERM)
        code = scorer.wait(_SHUTDOWN_SECONDS)
        assert code == 0, f"left with {code}: {scorer.said}"

    def stop_all(self) -> None:
        """End those that run in good order."""
        for scorer, _ in self._members:
            if scorer.alive:
                self.stop(scorer)

    @property
    def said(self) -> str:
        """What they wrote, the end of it."""
        return "".join(scorer.said for scorer, _ in self._members)[-_SAID:]

    def state(self) -> str:
        """Return what they wrote and why those that run are not ready."""
        reasons = [scorer.probe()[1] for scorer, _ in self._members if scorer.alive]
        return f"{len(reasons)} of {len(self._members)} run, {reasons}; {self.said}"

    def close(self) -> None:
        """Kill those that run."""
        self._stack.close()
