"""Labels are sent once, also if a commit fails or its answer is lost."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.codec.writing.encode import ColumnEncoder
from stream_scorer.errors import FencedError, TransactionError, UnavailableError
from stream_scorer.labels import send
from stream_scorer.labels.read import SCHEMA
from stream_scorer.labels.send import LabelSender
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Kafka, Registry

LOST = KafkaError(KafkaError._TIMED_OUT, "timed out", False, True)
ABORT = KafkaError(KafkaError.NOT_ENOUGH_REPLICAS, "replicas", False, False, True)
FENCED = KafkaError(KafkaError.PRODUCER_FENCED, "fenced", True)


class Topic:
    """A topic, and what its broker does with the next commits.

    Args:
        answers: By number of the commit: the error that it raises, and whether it happens.
    """

    def __init__(self, answers: Mapping[int, tuple[KafkaError, bool]]) -> None:
        self.values: list[bytes] = []
        self.commits = 0
        self._answers = answers

    def end(self, values: Sequence[bytes]) -> None:
        error, happens = self._answers.get(self.commits, (None, True))
        self.commits += 1
        self.values += values if happens else ()
        if error is not None:
            raise KafkaException(error)

    def ids(self) -> Counter[str]:
        reader = RecordReader(Registry())
        return Counter(reader.decode(value)["transaction_id"] for value in self.values)


class Client:
    """The calls of a producer that a sender needs."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._open: list[bytes] = []

    def init_transactions(self, _: float) -> None: ...
    def begin_transaction(self) -> None:
        self._open = []

    def produce(self, topic: str, values: BytesColumn, keys: BytesColumn, *_: Any) -> None:
        assert topic == "labels"
        assert len(keys) == len(values)
        self._open += values.to_list()

    def commit_transaction(self, _: float) -> None:
        self._topic.end(self._open)

    def abort_transaction(self, _: float) -> None:
        self._open = []

    def send_offsets_to_transaction(self, *_: Any) -> None: ...
    def poll(self, _: float) -> None: ...
    def flush(self, _: float) -> bool:
        return True

    def purge(self) -> None: ...
    def close(self) -> None: ...


def labels(count: int) -> pa.Table:
    rows = [
        {
            "transaction_id": f"t{at}", "state": at % 4, "label_time": None, "source": "bank",
            "label_id": f"i{at}", "reason_code": "", "retracts": "", "drawn": None,
        }
        for at in range(count)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, SCHEMA)
    for name in ("customer_id", "terminal_id"):
        table = table.append_column(name, pa.array(["x"] * count))
    return table.append_column("event_time", pa.array(np.arange(count)))


def sent(
    answers: Mapping[int, tuple[KafkaError, bool]], count: int = 25
) -> tuple[Topic, Callable[[], int]]:
    """Return a topic, and a call that sends labels to it, ten in each transaction."""
    topic, table = Topic(answers), labels(count)
    schema = reader_schema("label.v2")
    encoder = ColumnEncoder(open_registry(Registry()).id_for("labels-value", schema), schema)
    sender = LabelSender(Kafka(), encoder, lambda _: Client(topic))

    def missing() -> np.ndarray[Any, np.dtype[np.bool_]]:
        there = topic.ids()
        return np.array([each not in there for each in table["transaction_id"].to_pylist()])

    def run() -> int:
        try:
            return sender.send_missing(table, missing, 10)
        finally:
            sender.close()

    return topic, run


ONCE = Counter({f"t{at}": 1 for at in range(25)})


@pytest.mark.parametrize(
    ("answers", "commits"),
    [
        ({}, 3),
        ({1: (LOST, True)}, 3),
        ({1: (LOST, False)}, 4),
        ({0: (ABORT, False), 2: (ABORT, False)}, 5),
        ({2: (LOST, True)}, 3),
    ],
)
def test_every_label_is_sent_once(
    answers: Mapping[int, tuple[KafkaError, bool]], commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "_PAUSE_SECONDS", 0.0)
    topic, run = sent(answers)
    assert run() == 25
    assert (topic.ids(), topic.commits) == (ONCE, commits)


def test_a_later_import_ends_this_one() -> None:
    topic, run = sent({1: (FENCED, False)})
    with pytest.raises(FencedError, match="another import into topic labels"):
        run()
    assert sum(topic.ids().values()) == 10


def test_a_label_that_is_too_large_is_an_error() -> None:
    large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "size", False, False, True)
    _, run = sent({0: (large, False)})
    with pytest.raises(TransactionError, match="a label is too large"):
        run()


def test_it_gives_up_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "_PATIENCE_SECONDS", -1.0)
    _, run = sent({0: (ABORT, False)})
    with pytest.raises(UnavailableError, match="labels were not accepted"):
        run()


def test_states_and_keys_are_those_of_the_labels() -> None:
    topic, run = sent({})
    run()
    reader = RecordReader(Registry())
    found = [reader.decode(value) for value in topic.values]
    assert [each["state"] for each in found[:4]] == ["GENUINE", "FRAUD", "UNKNOWN", "DISPUTED"]
    assert [each["is_fraud"] for each in found[:4]] == [False, True, False, False]
    assert {each["label_time"] for each in found} == {None}
