"""The scorers of a stage, started and supervised as an operator would."""

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
        hooks: Hooks for tests, see ``suite/scorer_with_hooks.py``.
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
        folder: Folder for their output.

    Attributes:
        restarts: How often a scorer was restarted because it exited without a broker (code 5).
    """

    def __init__(self, folder: Path) -> None:
        self.restarts = 0
        self._folder = folder
        self._stack = ExitStack()
        self._members: list[tuple[ScorerProcess, Order]] = []
        self._started = 0

    def start(self, order: Order) -> ScorerProcess:
        """Start a scorer; the first one of all gets ``--from earliest``."""
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
        """Restart scorers that exited with code 5, because brokers were unreachable."""
        for member in list(self._members):
            scorer, order = member
            if not scorer.alive and scorer.wait() == _UNAVAILABLE:
                self._members.remove(member)
                self.restarts += 1
                self.start(order)

    def running(self, instance: str) -> ScorerProcess | None:
        """Return the running scorer with an instance name; None if there is none."""
        mine = (s for s, order in self._members if order.instance == instance and s.alive)
        return next(mine, None)

    def stop_others(self, instances: Collection[str]) -> None:
        """Stop scorers with other names gracefully; forget all that have ended."""
        for scorer, order in self._members:
            if scorer.alive and order.instance not in instances:
                self.stop(scorer)
        self._members = [(scorer, order) for scorer, order in self._members if scorer.alive]

    def stop(self, scorer: ScorerProcess) -> None:
        """Stop a scorer gracefully."""
        scorer.send(signal.SIGTERM)
        code = scorer.wait(_SHUTDOWN_SECONDS)
        assert code == 0, f"left with {code}: {scorer.said}"

    def stop_all(self) -> None:
        """Stop all running scorers gracefully."""
        for scorer, _ in self._members:
            if scorer.alive:
                self.stop(scorer)

    @property
    def ports(self) -> list[int]:
        """The ports of the probes and metrics of running scorers."""
        return [scorer.port for scorer, _ in list(self._members) if scorer.alive]

    @property
    def said(self) -> str:
        """The end of their output."""
        return "".join(scorer.said for scorer, _ in self._members)[-_SAID:]

    def state(self) -> str:
        """Return the end of their output, and why running ones are not ready."""
        reasons = [scorer.probe()[1] for scorer, _ in self._members if scorer.alive]
        return f"{len(reasons)} of {len(self._members)} run, {reasons}; {self.said}"

    def close(self) -> None:
        """Kill the running scorers."""
        self._stack.close()
