"""Readers of the rollout's topics wait at their start for a registry that fails at first."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.loop import patient_read
from stream_scorer.kafka.loop.control_topic import ControlRecord
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.reproduce import routings
from stream_scorer.rollout.log import activation_log, control_log
from stream_scorer.rollout.operator import commands
from stream_scorer.rollout.operator.reports import history
from stream_scorer.scoring import process
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Event
from stream_scorer.terminals import mappings
from tests.unit.rollout.log.test_control_log import Reader, Topic, written

ELSEWHERE = 4_711
ACTIVATION = reader_schema("activation.v1")
BEGUN = {
    "partition": 3, "offset": 100, "revision": 1, "status": "ACTIVE", "reason": "", "versions": {},
    "instance": "i", "at": 0,
}  # fmt: skip


class Registry(FileRegistry):
    """The shipped schemas; it fails three times for one under another id.

    Args:
        schema: That schema.
    """

    def __init__(self, schema: str) -> None:
        super().__init__(SCHEMAS_DIRECTORY)
        self._schema = schema
        self.failures = 0

    def writer_schema(self, schema_id: int) -> str:
        if schema_id != ELSEWHERE:
            return super().writer_schema(schema_id)
        if self.failures < 3:
            self.failures += 1
            raise RegistryUnavailableError("registry: HTTP 500")
        return self._schema


class Activations(Reader):
    """Like ``KeptTopic``, for a caller that waits for open transactions, too."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self.left = 1

    def mark_end(self, *, stable: bool = True) -> None:
        pass

    def to_end(self, *, stable: bool = True) -> Sequence[ControlRecord]:
        assert not stable
        return super().to_end()

    def poll(self, wait: float) -> Sequence[ControlRecord]:  # noqa: ARG002 nothing is waited for
        self.left = 0
        return super().to_end()


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> tuple[Registry, Registry]:
    """Return the registry of the control log's readers, and that of the activations' readers."""
    commands_topic, activations = Topic(), Topic()
    written(commands_topic)
    activations.put(RecordCodec(ELSEWHERE, ACTIVATION).encode(BEGUN))
    found = Registry(reader_schema("rollout.v1")), Registry(ACTIVATION)
    monkeypatch.setattr(patient_read, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(control_log, "open_registry", lambda _: found[0])
    monkeypatch.setattr(control_log, "KeptTopic", lambda *_: Reader(commands_topic))
    monkeypatch.setattr(activation_log, "KeptTopic", lambda *_: Activations(activations))
    monkeypatch.setattr(routings, "open_registry", lambda _: found[1])
    for module in (routings, mappings):
        monkeypatch.setattr(module, "admin", lambda _: None)
        monkeypatch.setattr(module, "partitions", lambda *_: ("rollout", "activations"))
    return found


def by_an_operator() -> None:
    with commands.control_log(Settings()) as log:
        assert log.log.records == 2


def by_the_history() -> None:
    assert [each["accepted"] for each in history(Settings())] == [True, True]


@pytest.mark.parametrize("read", [by_an_operator, by_the_history])
def test_a_command_reads_on(read: Callable[[], None], registries: tuple[Registry, Any]) -> None:
    read()
    assert registries[0].failures == 3


def test_a_reproduction_reads_on(registries: tuple[Registry, Registry]) -> None:
    assert routings.RecordedRoutings(Settings()).active == {1}
    assert [each.failures for each in registries] == [3, 3]


def test_a_profiler_starts(registries: tuple[Registry, Registry]) -> None:
    told: list[Event] = []
    settings = Settings()
    assert mappings.followed_mappings(settings, registries[1], "scorers", Plan(), told.append)
    assert [each.failures for each in registries] == [3, 3]
    assert [type(each) for each in told] == [DependencyUnavailable, DependencyBack] * 2


def test_a_scorer_starts(registries: tuple[Any, Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    class Live:
        """Notes the revisions for which a scorer waits."""

        warming = None

        def __init__(self, *_: object) -> None: ...

        def wait(self, active: Sequence[int]) -> None:
            asked.append(list(active))

    monkeypatch.setattr(process, "LiveVersions", Live)
    told: list[Event] = []
    process._followed(Settings(), Deployment(""), registries[1], told.append, None, None)
    assert asked == [[1]]
    assert registries[1].failures == 3
    assert [type(each) for each in told] == [DependencyUnavailable, DependencyBack]
