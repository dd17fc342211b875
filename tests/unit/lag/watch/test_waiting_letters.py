"""The count of dead letters that were not replayed yet."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from stream_scorer.dead_letters.progress import LetterProgress, Selection
from stream_scorer.errors import UnavailableError
from stream_scorer.lag.watch import waiting_letters
from stream_scorer.lag.watch.waiting_letters import (
    DeadLetterTopic,
    LetterPlace,
    LetterQueue,
    LetterWatch,
    WaitingLetter,
)
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Event, LettersCounted


class ScriptedLetters:
    """One partition, as the test sets it."""

    def __init__(self, *letters: WaitingLetter) -> None:
        self.letters = list(letters)
        self.there = LetterProgress.at(0)
        self.start = 0
        self.down = False

    def progress(self) -> Mapping[int, LetterPlace]:
        if self.down:
            raise UnavailableError("broker: timed out", "start it")
        return {0: LetterPlace(self.there, self.start)}

    def read(self, queues: Mapping[int, LetterQueue]) -> None:
        queues[0].letters.extend(self.letters)
        self.letters.clear()

    def close(self) -> None:
        self.down = True


@pytest.fixture
def letters() -> ScriptedLetters:
    return ScriptedLetters(
        WaitingLetter(3, "DUPLICATE", 50.0),
        WaitingLetter(5, "MALFORMED", 70.0),
        WaitingLetter(6, "CURRENCY", 60.0),
    )


def counted(source: ScriptedLetters, times: int = 1) -> LettersCounted:
    heard: list[Event] = []
    watch = LetterWatch(source, "dlq", heard.append, 30.0)
    for _ in range(times):
        watch.count()
    last = heard[-1]
    assert isinstance(last, LettersCounted)
    return last


def test_letters_are_counted_by_reason(letters: ScriptedLetters) -> None:
    found = counted(letters)
    assert found.waiting == {"CURRENCY": 1, "DUPLICATE": 1, "MALFORMED": 1}
    # Not the duplicate, which no replay takes.
    assert found.oldest == 60.0


def test_replayed_letters_wait_no_more(letters: ScriptedLetters) -> None:
    heard: list[Event] = []
    watch = LetterWatch(letters, "dlq", heard.append, 30.0)
    watch.count()
    # As `dlq replay` leaves it: all but duplicates up to the end.
    letters.there = LetterProgress.at(0).advanced(9, Selection(), {"DUPLICATE": 3})
    watch.count()
    assert heard[-1] == LettersCounted(
        "dlq", 0, {"CURRENCY": 0, "DUPLICATE": 1, "MALFORMED": 0}, None
    )


def test_letters_that_retention_deleted_wait_no_more(letters: ScriptedLetters) -> None:
    heard: list[Event] = []
    watch = LetterWatch(letters, "dlq", heard.append, 30.0)
    letters.there = LetterProgress.at(2)
    watch.count()
    letters.start = 6
    watch.count()
    counts = {"CURRENCY": 1, "DUPLICATE": 0, "MALFORMED": 0}
    assert heard[-1] == LettersCounted("dlq", 0, counts, 60.0)


def test_a_partition_without_letters_has_none() -> None:
    assert counted(ScriptedLetters(), 2) == LettersCounted("dlq", 0, {}, None)


def test_brokers_that_do_not_answer_end_no_thread() -> None:
    heard: list[Event] = []
    source = ScriptedLetters()
    source.down = True
    with LetterWatch(source, "dlq", heard.append, 0.001).start() as watch:
        while len(heard) < 2:
            watch._stop.wait(0.001)
    assert all("dead letters: " in str(each) for each in heard)


class Slow:
    """A consumer that connects late: nothing comes at first."""

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)

    def consume(self, *_: object) -> list[Any]:
        return self.answers.pop(0) if self.answers else []


def end_of(partition: int) -> Any:
    error = SimpleNamespace(code=lambda: KafkaError._PARTITION_EOF, fatal=lambda: False)
    return SimpleNamespace(error=lambda: error, partition=lambda: partition)


def test_a_slow_broker_is_not_an_empty_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Slow([], [], [end_of(0)])
    for name in ("PartitionOffsets", "ColumnConsumer"):
        monkeypatch.setattr(waiting_letters, name, lambda *_: None)
    monkeypatch.setattr(waiting_letters, "Consumer", lambda _: consumer)
    source = DeadLetterTopic(Settings())
    source._assigned.add(0)
    source.read({0: LetterQueue()})
    assert consumer.answers == []
    # What has ended is not waited for again; what has not is an error, not a count.
    source.read({0: LetterQueue()})
    source._assigned.add(1)
    monkeypatch.setattr(waiting_letters, "_PATIENCE_SECONDS", 0.0)
    with pytest.raises(UnavailableError, match="sent nothing"):
        source.read({0: LetterQueue(), 1: LetterQueue()})


def test_reasons_of_other_versions_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # A producer that writes to the topic could make as many series as it likes.
    reasons = ["MALFORMED", *(f"NEW_{chr(65 + number)}" for number in range(20))]
    letters = [
        SimpleNamespace(
            partition=0, offset=offset, reason=reason, timestamp=50_000 + offset,
            source_topic=Settings().kafka.topics.transactions, replayed=False,
        )
        for offset, reason in enumerate(reasons)
    ]  # fmt: skip
    messages = [
        SimpleNamespace(error=lambda: None, partition=lambda: 0, letter=each) for each in letters
    ]
    for name in ("PartitionOffsets", "ColumnConsumer"):
        monkeypatch.setattr(waiting_letters, name, lambda *_: None)
    monkeypatch.setattr(waiting_letters, "Consumer", lambda _: Slow([*messages, end_of(0)]))
    monkeypatch.setattr(waiting_letters, "parse", lambda message: message.letter)
    source = DeadLetterTopic(Settings())
    source._assigned.add(0)
    queue = LetterQueue()
    source.read({0: queue})
    assert queue.count() == ({"*": 20, "MALFORMED": 1}, 50.0)
    queue.advance(LetterPlace(LetterProgress.at(15), 0))
    assert queue.count()[0] == {"*": 6, "MALFORMED": 0}
