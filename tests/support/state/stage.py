"""A scorer with a checkpoint, run in process until the input's end, or until it crashes."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.scoring.process import scorer_loop
from stream_scorer.scoring.work import ScoringWork
from stream_scorer.settings import Kafka, Scorer, Settings, State
from stream_scorer.state.partitions import checkpoint_writer
from stream_scorer.telemetry import Event, StateRestored
from tests.support.faults.reference_run import (
    DEADLINE_SECONDS,
    PARTITIONS,
    Heard,
    Outcome,
    Record,
    committed,
    outcome,
    transactions,
)

GENEROUS = 10_000.0
"""Bytes per event with which a complete cycle takes some two thousand records."""


class Crash(BaseException):
    """The process dies here. The loop cannot handle it, as it handles a model's ``Exception``."""


def settings_of(kafka: Kafka, batch: int = 400, **state: Any) -> Settings:
    """Return settings whose checkpoints go round fast."""
    return Settings(
        kafka=kafka,
        scorer=Scorer(maximum_batch=batch),
        state=State(**{"bytes_per_event": GENEROUS, **state}),
    )


def leavers(days: int = 60, customers: int = 160) -> tuple[Record, ...]:
    """Return transactions of which a third of the customers stays away after a quarter."""
    records = transactions(days, customers)
    quarter = len(records) // 4
    return tuple(
        record for number, record in enumerate(records) if number < quarter or int(record.key) % 3
    )


@dataclass(slots=True)
class Life:
    """The results of one run of a scorer.

    Attributes:
        heard: Its events.
        work: Its work, as it ended.
        crashed: Whether it crashed.
        at_restore: The rings of each partition at the moment when its state was complete; only from
            :func:`restored_only`.
    """

    heard: Heard
    work: ScoringWork
    crashed: bool
    at_restore: dict[int, Any] = field(default_factory=dict)

    @property
    def restored(self) -> dict[int, StateRestored]:
        """By partition, how it came back the last time."""
        return {each.partition: each for each in self.heard.of(StateRestored)}

    def rings(self) -> dict[int, Any]:
        """Return the rings, after all due customers were evicted."""
        partitions = self.work.rings.partitions()
        return {partition: _remembered(self.work, partition) for partition in partitions}

    def outcome(self, kafka: Kafka) -> Outcome:
        """Return its visible results, and the rings."""
        found = outcome(kafka)
        found.rings = self.rings()
        return found


def _remembered(work: ScoringWork, partition: int) -> Any:
    rings = work.rings.of(partition)
    rings.evict(10**9)
    return [(key, *(column.tolist() for column in columns)) for key, *columns in rings.events()]


def live(
    settings: Settings,
    ends: dict[int, int],
    hook: Callable[[str], None] | None = None,
    start: str | None = "earliest",
    model: str = "fraud:1.0.0",
    warm: str | None = None,
    plan: Path | None = None,
) -> Life:
    """Run a scorer until the input's end is committed, or its hook raises ``Crash``.

    Its last flush has a minute. The product gives it two seconds and leaves the rest to the next
    owner's replay (docs/adr/0008): 4,096 files take longer than that on a busy machine, and tests
    that say where the last buckets are would depend on the machine.
    """
    heard = Heard(ends)
    heard.positions |= committed(settings.kafka)
    deployment = Deployment(model, start=start, warm=warm, plan=plan)  # type: ignore[arg-type]
    followed = ExitStack()
    loop, work = scorer_loop(settings, deployment, heard, hook, followed=followed)

    def beat() -> None:
        assert not heard.stalled, f"not done: {heard.positions} of {ends}"
        if heard.done:
            loop.stop()

    with followed, patch.object(checkpoint_writer, "_FLUSH_SECONDS", DEADLINE_SECONDS):
        try:
            loop.run(beat)
        except Crash:
            return Life(heard, work, crashed=True)
    return Life(heard, work, crashed=False)


def restored_only(
    settings: Settings, partitions: int = PARTITIONS, deployment: Deployment | None = None
) -> Life:
    """Run a scorer until every partition's state is complete.

    A partition that is complete before the others may continue meanwhile, if it has input.
    """
    heard = Heard({})
    at_restore: dict[int, Any] = {}

    def listener(event: Event) -> None:
        heard(event)
        if isinstance(event, StateRestored):
            at_restore[event.partition] = _remembered(work, event.partition)

    followed = ExitStack()
    loop, work = scorer_loop(
        settings, deployment or Deployment("fraud:1.0.0"), listener, followed=followed
    )

    def beat() -> None:
        assert not heard.stalled, f"not whole: {heard.events[-3:]}"
        if len({each.partition for each in heard.of(StateRestored)}) == partitions:
            loop.stop()

    with followed:
        loop.run(beat)
    return Life(heard, work, crashed=False, at_restore=at_restore)
