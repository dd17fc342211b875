"""Sends labels to their topic, each once, in Kafka transactions.

All imports into one topic share a transactional id. So a later call fences an earlier one, and
aborts what a killed one had left open, before it reads which labels the topic has. Two calls can
therefore not send the same label. A transaction whose end is uncertain is settled in the same way:
the topic is read again.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.writing.encode import Choice, ColumnEncoder
from stream_scorer.core.labelling.contract import FRAUD, STATE_NAMES
from stream_scorer.errors import FencedError, TransactionError, UnavailableError
from stream_scorer.kafka.loop.producer import CommitUncertain, ProducerClient, TransactionalProducer
from stream_scorer.kafka.membership.transactional_id import command
from stream_scorer.ports import BytesColumn, Outgoing, TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Event

Bool = NDArray[np.bool_]

ROWS_AT_ONCE: Final = 50_000
"""Labels in one Kafka transaction."""
_PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.5
_COPIED: Final = (
    "transaction_id", "customer_id", "terminal_id", "event_time", "label_time", "source",
    "label_id", "reason_code", "retracts", "drawn",
)  # fmt: skip


def encoded(encoder: ColumnEncoder, labels: pa.RecordBatch) -> tuple[BytesColumn, BytesColumn]:
    """Return keys and values of labels.

    Args:
        encoder: Of the schema of labels.
        labels: n rows: the columns of ``labels.read.SCHEMA``, and customer, terminal and event time
            (ms).
    """
    state = np.asarray(labels.column("state"))
    columns: dict[str, Any] = {name: labels.column(name) for name in _COPIED}
    columns["is_fraud"] = state == FRAUD
    columns["state"] = Choice(state, STATE_NAMES)
    keys = labels.column("customer_id").cast(pa.binary()).to_pylist()
    return BytesColumn.of(keys), encoder.encode(columns, len(labels))


class LabelSender:
    """Sends labels in transactions; opening it fences every earlier import.

    Args:
        kafka: The cluster, and the topic of labels.
        encoder: Of the schema of labels.
        make: Makes a client from its options; a test can insert another.

    Raises:
        UnavailableError: The broker does not answer.
    """

    def __init__(
        self,
        kafka: Kafka,
        encoder: ColumnEncoder,
        make: Callable[[dict[str, Any]], ProducerClient] | None = None,
    ) -> None:
        self._topic = kafka.topics.labels
        self._encoder = encoder
        self._until = 0.0
        self._producer = TransactionalProducer(
            kafka, self._topic, _nobody, make, identity=command(self._topic, "import")
        )

    def send_missing(
        self, labels: pa.Table, missing: Callable[[], Bool], rows_at_once: int = ROWS_AT_ONCE
    ) -> int:
        """Send the labels that the topic does not have; return their number.

        Args:
            labels: m rows, as for :func:`encoded`.
            missing: Reads the topic, and returns bool[m]: which labels it does not have. It is
                called again after an uncertain commit.
            rows_at_once: Labels in one transaction.

        Raises:
            FencedError: A later import into the topic has begun.
            TransactionError: The broker refuses a record permanently.
            UnavailableError: The broker does not answer.
        """
        self._rest()
        wanted = missing()
        first = int(np.count_nonzero(wanted))
        while wanted.any():
            left = labels.filter(pa.array(wanted)).combine_chunks()
            try:
                for batch in left.to_batches(max_chunksize=rows_at_once):
                    self._send(batch)
                    self._rest()
                break
            except TransactionAborted as error:
                self._go_on(error)
            except CommitUncertain as error:
                self._producer.rebirth(str(error), self._tired)
            except FencedError as error:
                raise FencedError(
                    f"another import into topic {self._topic} has begun",
                    "run this one again after it: what was sent is not sent again",
                ) from error
            wanted = missing()
        return first

    def _send(self, labels: pa.RecordBatch) -> None:
        keys, values = encoded(self._encoder, labels)
        self._producer.begin()
        self._producer.send(Outgoing(self._topic, values, keys))
        self._producer.commit()

    def _rest(self) -> None:
        self._until = time.monotonic() + _PATIENCE_SECONDS

    def _tired(self) -> bool:
        return time.monotonic() > self._until

    def _go_on(self, error: TransactionAborted) -> None:
        if error.too_large:
            raise TransactionError(
                f"topic {self._topic}: a label is too large: {error}",
                "see the topic's max.message.bytes",
            ) from error
        if self._tired():
            raise UnavailableError(
                f"topic {self._topic}: labels were not accepted: {error}",
                "check the brokers, and run it again: nothing is sent twice",
            ) from error
        time.sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """Close; an open transaction is aborted."""
        try:
            self._producer.abort_open()
        except FencedError:
            pass  # the one that fenced it has ended the transaction, too
        finally:
            self._producer.close()


def _nobody(_: Event) -> None:
    """Ignore events: the call ends with a report or an error."""
