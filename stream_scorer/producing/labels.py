"""Sends transactions together with their labels, each label after a delay in event time.

The simulated clock is the event time of the newest transaction sent. A label is sent as soon as
the clock has passed its transaction's event time plus the delay: right before the first
transaction that is later than that.
"""

import numpy as np
import pyarrow as pa

from stream_scorer import settings
from stream_scorer.codec.writing.encode import Choice, ColumnEncoder, Constant
from stream_scorer.kafka.reading.paced_producer import KEY_COLUMN, Feed, Riders
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.ports import Int64
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.registry.sources import open_registry, reader_schema

_SUBJECT = "labels-value"
_SCHEMA = "label.v2"
_SOURCE = "simulator"
_COPIED = ("transaction_id", "customer_id", "terminal_id", "event_time", "is_fraud")
_STATES = ("GENUINE", "FRAUD")
_ROWS_AT_ONCE = 5_000


class LabelEncoder:
    """Encodes the labels of labelled transactions: one statement about each.

    The statement's id is that of the transaction, so that a label that is sent again is the same
    one.

    Args:
        registry: Contains the id of our label schema.
        delay_ms: A label became known this long after its transaction's event time.

    Raises:
        SchemaError: The registry does not have the schema.
        RegistryUnavailableError: It does not answer.
    """

    def __init__(self, registry: settings.Registry, delay_ms: int) -> None:
        text = reader_schema(_SCHEMA)
        self._encoder = ColumnEncoder(open_registry(registry).id_for(_SUBJECT, text), text)
        self._delay_ms = delay_ms

    def __call__(self, rows: pa.RecordBatch) -> list[bytes]:
        """Return one payload for each of n rows of the simulator's schema."""
        known = rows.column("event_time").cast(pa.int64()).to_numpy() + self._delay_ms
        columns = {name: rows.column(name) for name in _COPIED}
        fraud = rows.column("is_fraud").to_numpy(zero_copy_only=False).astype(np.int64)
        own = {
            "label_time": known, "source": Constant(_SOURCE), "state": Choice(fraud, _STATES),
            "label_id": rows.column("transaction_id"),
        }  # fmt: skip
        return self._encoder.encode({**columns, **own}, len(rows)).to_list()


def due_before(event_time: Int64, delay_ms: int) -> Int64:
    """Return the number of the transaction before which each label is sent.

    Args:
        event_time: int64[n], ms, ascending.
        delay_ms: 0 or more.

    Returns:
        int64[n], ascending; n if no transaction is later than the label is due.
    """
    return np.searchsorted(event_time, event_time + delay_ms, side="right").astype(np.int64)


class LabelledSender:
    """Labelled transactions that are sent in pieces, and each label as soon as it is due.

    Args:
        kafka: The cluster, and the labels topic's name.
        registry: Contains the ids of both schemas.
        table: Labelled transactions with the simulator's columns, in time order.
        delay_ms: A label is due this long after its transaction's event time.
        to_the_end: Whether labels that are due after the last transaction are sent after it;
            otherwise they are not sent.

    Attributes:
        sent: Transactions sent so far.
        labels: Labels sent so far.

    Raises:
        SettingsError: The labels topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """

    def __init__(
        self,
        kafka: settings.Kafka,
        registry: settings.Registry,
        table: pa.Table,
        delay_ms: int,
        *,
        to_the_end: bool = True,
    ) -> None:
        self._topic = kafka.topics.labels
        partitions(admin(kafka), kafka, [self._topic])
        self._encode = TransactionEncoder(registry)
        self._encode_labels = LabelEncoder(registry, delay_ms)
        self._table = table.combine_chunks()
        self._before = due_before(self._table["event_time"].cast(pa.int64()).to_numpy(), delay_ms)
        self._to_the_end = to_the_end
        self.sent = 0
        self.labels = 0

    def __len__(self) -> int:
        """Return the number of transactions."""
        return len(self._table)

    @property
    def last(self) -> pa.Table:
        """The transaction that was sent last, a table of one row."""
        return self._table.slice(self.sent - 1, 1)

    def send(self, feed: Feed, count: int) -> None:
        """Send the next ``count`` transactions, or the remaining ones, with the labels due.

        Raises:
            UnavailableError: The broker did not accept a record in time.
            TransactionError: The broker refused a record.
        """
        for batch in self._table.slice(self.sent, count).to_batches(max_chunksize=_ROWS_AT_ONCE):
            first, behind = self.sent, self.sent + len(batch)
            last = int(np.searchsorted(self._before, behind))
            if behind == len(self) and self._to_the_end:
                last = len(self)
            keys, values = [], []
            for due in self._table.slice(self.labels, last - self.labels).to_batches():
                keys += _keys(due)
                values += self._encode_labels(due)
            riders = Riders(self._topic, keys, values, self._before[self.labels : last] - first)
            feed.send_encoded(_keys(batch), self._encode(batch), riders)
            self.sent, self.labels = behind, last


def send_with_labels(
    kafka: settings.Kafka,
    registry: settings.Registry,
    table: pa.Table,
    topic: str,
    delay_ms: int,
    rate: float | None = None,
) -> int:
    """Send transactions to a topic, and all their labels to the settings' labels topic.

    Args:
        kafka: The cluster, and the labels topic's name.
        registry: Contains the ids of both schemas.
        table: Labelled transactions with the simulator's columns, in time order.
        topic: Topic of the transactions.
        delay_ms: A label is due this long after its transaction's event time.
        rate: Transactions per second; None: as fast as the broker accepts them.

    Returns:
        Number of labels sent.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: Broker or registry do not answer.
        TransactionError: The broker refused a record.
    """
    rows = LabelledSender(kafka, registry, table, delay_ms)
    with Feed(kafka, TransactionEncoder(registry), topic, rate) as feed:
        rows.send(feed, len(rows))
    return rows.labels


def _keys(rows: pa.RecordBatch) -> list[bytes]:
    return rows.column(KEY_COLUMN).cast(pa.binary()).to_pylist()
