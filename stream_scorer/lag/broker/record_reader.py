"""The first record from given offsets on: its time, or that there is none to read."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from stream_scorer.closing import Closing
from stream_scorer.kafka.topics import client_options
from stream_scorer.lag.broker.looks import Place
from stream_scorer.settings import Kafka

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """What a reader gets from an offset on.

    Attributes:
        offset: Of the first record; None: there is none yet.
        time: Its timestamp, seconds; None: it has none.
        value: Its bytes.
    """

    offset: int | None
    time: float | None = None
    value: bytes | None = None


class FirstRecordReader(Closing):
    """Reads one record of each of many partitions, with a consumer that is kept.

    Args:
        kafka: The cluster.
        seconds: How long one call may take.
        uncommitted: Whether records of open and aborted transactions count, too.
    """

    def __init__(self, kafka: Kafka, seconds: float = 2.0, *, uncommitted: bool = False) -> None:
        self._seconds = seconds
        self._consumer: Any = Consumer(
            client_options.reader(kafka, f"{kafka.group}-lag")
            | {
                # Only one record is needed: do not fetch more than one record batch.
                "queued.min.messages": 1,
                "max.partition.fetch.bytes": 1_024,
                "fetch.wait.max.ms": 20,
                "isolation.level": "read_uncommitted" if uncommitted else "read_committed",
            }
        )

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def first_records(
        self, starts: Mapping[Place, int], seconds: float | None = None
    ) -> dict[Place, FoundRecord]:
        """Return the first record from each offset on.

        A partition that does not answer in time is left out, and so are all if no broker answers.

        Args:
            starts: Offsets by topic and partition.
            seconds: How long this call may take; None: as long as any.
        """
        if not starts:
            return {}
        found: dict[Place, FoundRecord] = {}
        deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        try:
            self._consumer.assign([TopicPartition(*at, start) for at, start in starts.items()])
            while len(found) < len(starts) and time.monotonic() < deadline:
                for message in self._consumer.consume(len(starts), _POLL_SECONDS):
                    self._take(message, found)
        except KafkaException:
            pass
        finally:
            self._consumer.unassign()
        return {at: record for at, record in found.items() if at in starts}

    def _take(self, message: Any, found: dict[Place, FoundRecord]) -> None:
        at = (message.topic(), message.partition())
        error = message.error()
        if at in found or (error is not None and error.code() != KafkaError._PARTITION_EOF):  # noqa: SLF001 the binding's own name
            return
        if error is not None:
            found[at] = FoundRecord(None)
        else:
            kind, milliseconds = message.timestamp()
            known = kind != TIMESTAMP_NOT_AVAILABLE
            found[at] = FoundRecord(
                message.offset(), milliseconds / 1_000 if known else None, message.value()
            )
        # Not pause(): the next assignment of a partition that was paused waits for a second.
        self._consumer.incremental_unassign([TopicPartition(*at)])
