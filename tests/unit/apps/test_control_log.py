"""The control log as a process reads and writes it: outages lose nothing, moved heads are told."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest

from stream_scorer.apps import control_log
from stream_scorer.apps.control_log import ControlLog
from stream_scorer.codec.record import RecordCodec
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.control_topic import Kept
from stream_scorer.rollout.control import Authority, Command
from stream_scorer.settings import SCHEMAS_DIRECTORY, Settings
from tests.unit.rollout.scene import Writer, plan

_ELSEWHERE = 4_711
"""Id of the schema by another registry's count: it must be asked for."""


class Topic:
    """A topic of one partition in memory; every reader goes on from where it is, and never back."""

    def __init__(self) -> None:
        self.records: list[Kept] = []

    def put(self, value: bytes) -> int:
        self.records.append(Kept(len(self.records), None, value))
        return len(self.records) - 1


class Reader:
    """What ``KeptTopic`` does, over a :class:`Topic`."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._next = 0

    def to_end(self) -> Sequence[Kept]:
        found = self._topic.records[self._next :]
        self._next += len(found)
        return found

    def poll(self, wait: float) -> Sequence[Kept]:
        return self.to_end()

    def close(self) -> None:
        pass


class Registry(FileRegistry):
    """The shipped schemas, and the log's under another id while there is no outage."""

    def __init__(self) -> None:
        super().__init__(SCHEMAS_DIRECTORY)
        self.out = False

    def writer_schema(self, schema_id: int) -> str:
        if self.out:
            raise RegistryUnavailableError("registry: no answer")
        if schema_id == _ELSEWHERE:
            return reader_schema("rollout.v1")
        return super().writer_schema(schema_id)


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def log(topic: Topic, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> ControlLog:
    monkeypatch.setattr(control_log, "open_registry", lambda _: registry)
    monkeypatch.setattr(control_log, "KeptTopic", lambda *_: Reader(topic))
    monkeypatch.setattr(control_log, "append", lambda kafka, name, value: topic.put(value))
    return ControlLog(Settings())


def encoded(command: Command) -> bytes:
    return RecordCodec(_ELSEWHERE, reader_schema("rollout.v1")).encode(asdict(command))


def written(topic: Topic) -> None:
    """Put a plan and a step there, by a writer whose registry counts otherwise."""
    writer = Writer(Authority())
    for kind, said in (("plan", plan().model_dump(mode="json")), ("step", {"stage": 1})):
        command = writer.make(kind, None, **said)
        assert writer.take(command).accepted
        topic.put(encoded(command))


@pytest.mark.parametrize("by", ["refresh", "poll"])
def test_what_was_read_while_the_registry_was_out_is_taken_after_it(
    log: ControlLog, topic: Topic, registry: Registry, by: str
) -> None:
    written(topic)
    registry.out = True
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            log.refresh() if by == "refresh" else log.poll(0.0)
    assert not log.log.entries
    registry.out = False
    if by == "refresh":
        assert log.refresh().stage == 1
    else:
        assert [entry.offset for entry in log.poll(0.0)] == [0, 1]
    assert [entry.refused for entry in log.log.entries] == ["", ""]
