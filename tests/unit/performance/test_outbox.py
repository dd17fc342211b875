"""Records leave the outbox once, whatever happens to the answer of a commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stream_scorer.errors import StateError
from stream_scorer.kafka.loop.producer import CommitUncertain
from stream_scorer.performance.process import outbox
from stream_scorer.performance.process.outbox import OutboxSender
from stream_scorer.performance.store.store import OutboxRecord, PerformanceStore
from stream_scorer.ports import Outgoing, TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Event

PLACES = {("decisions", 0): 7, ("decisions", 1): 9, ("labels", 0): 3}


@dataclass
class FakeGroup:
    """A broker's view of one group: its committed offsets with notes, and what was published.

    ``ends`` has the outcomes of the next commits: done, aborted, lost (done, without an answer),
    or gone (not done, without an answer).
    """

    ends: list[str] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    note: bytes = b""
    topics: dict[str, list[bytes]] = field(default_factory=dict)
    births: int = 0


class FakeOutboxProducer:
    """Collects a transaction, and ends it as the group says."""

    def __init__(self, group: FakeGroup) -> None:
        self._group = group
        self._open: list[tuple[str, bytes | None]] = []
        self._places: tuple[dict[int, int], Mapping[int, bytes]] = ({}, {})

    def begin(self) -> None:
        self._open = []

    def offsets(
        self, topic: str, offsets: dict[int, int], group: object, notes: Mapping[int, bytes]
    ) -> None:
        assert topic == "decisions"
        del group
        self._places = offsets, notes

    def send(self, outgoing: Outgoing) -> None:
        self._open += [(outgoing.topic, value) for value in outgoing.values]

    def commit(self) -> None:
        end = self._group.ends.pop(0) if self._group.ends else "done"
        if end == "aborted":
            raise TransactionAborted("no answer", network=True)
        if end != "gone":
            self._group.offsets, notes = self._places
            self._group.note = notes.get(0, self._group.note)
            for topic, value in self._open:
                self._group.topics.setdefault(topic, []).append(value or b"")
        if end != "done":
            raise CommitUncertain("no answer")

    def rebirth(self, cause: str) -> None:
        assert cause
        self._group.births += 1

    def close(self) -> None:
        pass


class FakeOutboxConsumer:
    """A consumer that is only asked for notes."""

    def close(self) -> None:
        pass


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> FakeGroup:
    found = FakeGroup()

    def noted(_: object, __: str, partitions: Sequence[int]) -> dict[int, tuple[int, bytes]]:
        return {p: (found.offsets[p], found.note) for p in partitions if p in found.offsets}

    def producer(*_: Any, **__: Any) -> FakeOutboxProducer:
        return FakeOutboxProducer(found)

    monkeypatch.setattr(outbox, "TransactionalProducer", producer)
    monkeypatch.setattr(outbox, "ColumnConsumer", lambda *_: FakeOutboxConsumer())
    monkeypatch.setattr(outbox, "noted", noted)
    return found


def sender(told: list[Event] | None = None) -> OutboxSender:
    kafka = Kafka(bootstrap="localhost:1", group="performance")
    return OutboxSender(kafka, "decisions", (told if told is not None else []).append)


def post(store: PerformanceStore, *closings: int) -> None:
    store.post([OutboxRecord(c, "performance", b"", b"%d" % c) for c in closings])
    store.commit(PLACES, {})


def send(sender: OutboxSender, store: PerformanceStore) -> bool:
    metadata: Any = None
    return sender.send(store, PLACES, metadata)


def test_records_are_sent_with_the_decisions_offsets(group: FakeGroup) -> None:
    store = PerformanceStore(None)
    post(store, 10, 10, 20)
    assert send(sender(), store)
    assert group.topics == {"performance": [b"10", b"10", b"20"]}
    assert group.offsets == {0: 7, 1: 9}
    assert group.note == b"performance 1 20"
    assert store.outbox() == []


@pytest.mark.parametrize("end", ["aborted", "gone", "lost"])
def test_each_record_is_sent_once(group: FakeGroup, end: str) -> None:
    group.ends = [end]
    store, ours = PerformanceStore(None), sender()
    post(store, 10)
    assert send(ours, store) == (end == "lost")
    post(store, 20)
    assert send(ours, store)
    assert group.topics == {"performance": [b"10", b"20"]}
    assert group.births == (end != "aborted")


def test_a_restart_does_not_send_again(group: FakeGroup) -> None:
    store = PerformanceStore(None)
    post(store, 10)
    group.ends = ["lost"]
    with pytest.MonkeyPatch.context() as killed:
        # Killed before the answer is known: the file still has the record.
        killed.setattr(PerformanceStore, "sent", lambda *_: None)
        send(sender(), store)
    assert len(store.outbox()) == 1
    post(store, 20)
    assert send(sender(), store)
    assert group.topics == {"performance": [b"10", b"20"]}


def test_a_lost_file_does_not_send_again(group: FakeGroup) -> None:
    store = PerformanceStore(None)
    post(store, 10, 20)
    assert send(sender(), store)
    again = PerformanceStore(None)
    post(again, 10, 20, 30)
    assert send(sender(), again)
    assert group.topics == {"performance": [b"10", b"20", b"30"]}


def test_offsets_are_committed_without_records(group: FakeGroup) -> None:
    store = PerformanceStore(None)
    store.commit(PLACES, {})
    assert send(sender(), store)
    assert (group.offsets, group.note) == ({0: 7, 1: 9}, b"")
    post(store, 10)
    assert send(sender(), store)
    assert send(sender(), store)
    assert group.note == b"performance 1 10"


def test_a_note_of_another_version_is_refused(group: FakeGroup) -> None:
    group.offsets, group.note = {0: 1}, b"performance 2 10"
    with pytest.raises(StateError, match="not of this version"):
        sender()
