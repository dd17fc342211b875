"""Labels that are produced with transactions: each once, in order, not before they are known."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.producing.labels import LabelledSender, send_with_labels
from stream_scorer.producing.transactions import open_feed
from stream_scorer.settings import Kafka, Registry
from stream_scorer.simulator import simulate
from tests.support.faults.process import environment

pytestmark = pytest.mark.kafka
HOUR_MS = 3_600_000


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return simulate(days=4, customers=300)


def arrived(settings: Kafka, topic: str) -> list[tuple[Any, dict[str, Any]]]:
    """Return (message, record) of all that a topic has, each partition's in order."""
    reader = RecordReader(Registry())
    return [(message, reader.decode(message.value())) for message in read_all(settings, topic)]


def stamps(settings: Kafka, topic: str, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return int64[rows]: the Kafka timestamp of each row's record; the id is the row's number."""
    out = np.full(rows, -1, np.int64)
    for message, record in arrived(settings, topic):
        assert out[int(record["transaction_id"])] == -1
        out[int(record["transaction_id"])] = message.timestamp()[1]
    assert (out > 0).all()
    return out


def milliseconds(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(table["event_time"].cast(pa.int64()).to_numpy())


def test_every_transaction_gets_its_label_in_its_own_partition(
    settings: Kafka, table: pa.Table
) -> None:
    sent = send_with_labels(settings, Registry(), table, settings.topics.transactions, 30 * HOUR_MS)
    assert sent == table.num_rows
    places = {m.key(): m.partition() for m, _ in arrived(settings, settings.topics.transactions)}
    rows = table.to_pylist()
    seen = set()
    newest = dict.fromkeys(range(4), -1)
    for message, label in arrived(settings, settings.topics.labels):
        number = int(label["transaction_id"])
        row = rows[number]
        assert message.key() == row["customer_id"].encode()
        assert message.partition() == places[message.key()]
        # Each partition's labels are in the order of their label times.
        assert number > newest[message.partition()]
        newest[message.partition()] = number
        known = label.pop("label_time")
        assert (known - label["event_time"]).total_seconds() == 30 * 3_600
        assert label.pop("event_time").replace(tzinfo=None) == row["event_time"]
        assert label == {
            "transaction_id": row["transaction_id"],
            "customer_id": row["customer_id"],
            "terminal_id": row["terminal_id"],
            "is_fraud": row["is_fraud"],
            "source": "simulator",
            "state": "FRAUD" if row["is_fraud"] else "GENUINE",
            "label_id": row["transaction_id"],
            "reason_code": "",
            "retracts": "",
            "drawn": None,
        }
        seen.add(number)
    assert seen == set(range(table.num_rows))
    assert {row["is_fraud"] for row in rows} == {True, False}


@pytest.mark.parametrize("hours", [0, 1, 30, 24 * 300])
def test_unpaced_labels_do_not_precede_their_transaction_time(
    settings: Kafka, table: pa.Table, hours: int
) -> None:
    delay = hours * HOUR_MS
    send_with_labels(settings, Registry(), table, settings.topics.transactions, delay)
    rows = table.num_rows
    transaction = stamps(settings, settings.topics.transactions, rows)
    label = stamps(settings, settings.topics.labels, rows)
    # They are sent in this order, so Kafka's timestamps ascend.
    assert (np.diff(transaction) >= 0).all()
    assert (np.diff(label) >= 0).all()
    time = milliseconds(table)
    for number in range(rows):
        later = np.flatnonzero(time > time[number] + delay)
        behind = int(later[0]) if len(later) else rows
        assert label[number] >= transaction[behind - 1]
        assert behind == rows or label[number] <= transaction[behind]


def test_a_paced_label_has_the_time_of_its_due_transaction(
    settings: Kafka, table: pa.Table
) -> None:
    few = table.slice(0, 400)
    time = milliseconds(few)
    delay = int(time[100] - time[0])
    send_with_labels(settings, Registry(), few, settings.topics.transactions, delay, rate=400.0)
    transaction = stamps(settings, settings.topics.transactions, 400)
    assert len(np.unique(transaction)) == 400
    label = stamps(settings, settings.topics.labels, 400)
    due = [np.flatnonzero(time > time[n] + delay) for n in range(400)]
    expected = [transaction[later[0]] if len(later) else transaction[-1] for later in due]
    assert label.tolist() == expected
    assert transaction[100] < label[0] < transaction[200]


def test_labels_continue_across_pieces_not_after_transactions(
    settings: Kafka, table: pa.Table
) -> None:
    registry, delay = Registry(), 30 * HOUR_MS
    pieces = LabelledSender(settings, registry, table, delay, to_the_end=False)
    time = milliseconds(table)
    with open_feed(settings, registry) as feed:
        # Before a piece's first transaction, after its last, and in an empty piece.
        for count in (1, 700, 0, 1, len(table)):
            pieces.send(feed, count)
            assert pieces.last["transaction_id"].to_pylist() == [str(pieces.sent - 1)]
            due = np.searchsorted(time + delay, time[pieces.sent - 1])
            assert pieces.labels == due
    assert feed.sent == pieces.sent == len(pieces) == len(table)
    assert 0 < pieces.labels < len(table)
    transaction = stamps(settings, settings.topics.transactions, len(table))
    labels = {
        int(label["transaction_id"]): message.timestamp()[1]
        for message, label in arrived(settings, settings.topics.labels)
    }
    assert sorted(labels) == list(range(pieces.labels))
    for number, at in labels.items():
        behind = int(np.searchsorted(time, time[number] + delay, side="right"))
        assert transaction[behind - 1] <= at <= transaction[behind]


def test_the_command_reports_what_it_sent(settings: Kafka) -> None:
    topics = settings.topics
    arguments = ["simulate", "--days=2", f"--topic={topics.transactions}", "--json"]
    result = CliRunner().invoke(
        app, [*arguments, "--labels", "--label-delay=12h"], env=environment(settings)
    )
    assert result.exception is None, result.exception
    report = json.loads(result.stdout)
    transactions = arrived(settings, topics.transactions)
    labels = arrived(settings, topics.labels)
    assert report["rows"] == report["labels"] == len(transactions) == len(labels)
    assert sum(label["is_fraud"] for _, label in labels) == report["frauds"] > 0
    label = labels[0][1]
    assert (label["label_time"] - label["event_time"]).total_seconds() == 12 * 3_600


def test_a_missing_labels_topic_is_named_before_anything_is_sent(
    settings: Kafka, table: pa.Table
) -> None:
    elsewhere = settings.model_copy(
        update={"topics": settings.topics.model_copy(update={"labels": "no-such"})}
    )
    with pytest.raises(SettingsError, match="topic no-such: does not exist"):
        send_with_labels(elsewhere, Registry(), table, settings.topics.transactions, 0)
    assert arrived(settings, settings.topics.transactions) == []
