"""Feed transactions together with their labels, each label after a delay in event time.

The simulated clock is the event time of the newest transaction sent. A label is sent as soon as
the clock has passed its transaction's event time plus the delay: right before the first
transaction that is later than that. Labels that are due after the last transaction follow it.
"""

import numpy as np
import pyarrow as pa

from stream_scorer import settings
from stream_scorer.apps.feeding import TransactionEncoder
from stream_scorer.codec.encode import ColumnEncoder, Constant
from stream_scorer.codec.schemas import open_registry, reader_schema
from stream_scorer.kafka.feed import KEY_COLUMN, Feed, Riders
from stream_scorer.kafka.offsets import admin, partitions
from stream_scorer.ports import Int64

_SUBJECT = "labels-value"
_SCHEMA = "label.v1"
_SOURCE = "simulator"
_COPIED = ("transaction_id", "customer_id", "terminal_id", "event_time", "is_fraud")
_ROWS_AT_ONCE = 5_000


class LabelEncoder:
    """Encodes the labels of labelled transactions.

    Args:
        registry: Knows the id of our label schema.
        delay_ms: A label became known this long after its transaction's event time.

    Raises:
        SchemaError: The registry does not know the schema.
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
        return self._encoder.encode(
            {**columns, "label_time": known, "source": Constant(_SOURCE)}, len(rows)
        ).to_list()


def due_before(event_time: Int64, delay_ms: int) -> Int64:
    """Return the number of the transaction that each label goes right before.

    Args:
        event_time: int64[n], ms, ascending.
        delay_ms: 0 or more.

    Returns:
        int64[n], ascending; n where no transaction is later than the label is due.
    """
    return np.searchsorted(event_time, event_time + delay_ms, side="right").astype(np.int64)


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
        registry: Knows the ids of both schemas.
        table: Labelled transactions with the simulator's columns, in time order.
        topic: Where the transactions go.
        delay_ms: A label is due this long after its transaction's event time.
        rate: Transactions per second; None: as fast as the broker takes them.

    Returns:
        How many labels were sent.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: Broker or registry do not answer.
        TransactionError: The broker refused a record.
    """
    encode, encode_labels = TransactionEncoder(registry), LabelEncoder(registry, delay_ms)
    labels_topic = kafka.topics.labels
    partitions(admin(kafka), kafka, [labels_topic])
    whole = table.combine_chunks()
    before = due_before(whole["event_time"].cast(pa.int64()).to_numpy(), delay_ms)
    first = label = 0
    with Feed(kafka, encode, topic, rate) as feed:
        for batch in whole.to_batches(max_chunksize=_ROWS_AT_ONCE):
            behind = first + len(batch)
            last = len(whole) if behind == len(whole) else int(np.searchsorted(before, behind))
            keys, values = [], []
            for due in whole.slice(label, last - label).to_batches():
                keys += _keys(due)
                values += encode_labels(due)
            riders = Riders(labels_topic, keys, values, before[label:last] - first)
            feed.send_encoded(_keys(batch), encode(batch), riders)
            first, label = behind, last
    return label


def _keys(rows: pa.RecordBatch) -> list[bytes]:
    return rows.column(KEY_COLUMN).cast(pa.binary()).to_pylist()
