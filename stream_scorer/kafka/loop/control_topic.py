"""The control log and the activations: topics of one partition with unlimited retention.

Kafka has no compare-and-set. A writer reads to the end after its own record, and finds out whether
another writer came first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from stream_scorer.errors import RolloutError, TransactionError, UnavailableError
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka

_RECORDS = 1_000
_STEP_SECONDS = 0.05
_APPEND_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """One record of such a topic.

    Attributes:
        offset: Its offset.
        key: Its key; None for none.
        value: Its bytes; None for none.
        appended_at: When the broker appended it, ms since the epoch; None if the topic keeps the
            time that the writer gave it.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    appended_at: int | None = None


class KeptTopic:
    """Reads such a topic from its first record; committed records only.

    Args:
        kafka: The cluster.
        topic: ``kafka.topics.rollout``, ``kafka.topics.activations`` or
            ``kafka.topics.drift_commands``.
        reader: The purpose: a part of the client's name.

    Raises:
        RolloutError: It has several partitions, or its beginning is gone.
        SettingsError: It does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(self, kafka: Kafka, topic: str, reader: str = "rollout") -> None:
        self._follower = TopicFollower(kafka, topic, reader)
        self._held: list[ControlRecord] = []
        try:
            _refuse_broken(topic, self._follower)
        except RolloutError:
            self._follower.close()
            raise

    def to_end(self, *, stable: bool = True) -> Sequence[ControlRecord]:
        """Return the records since the last call, up to the current end.

        What was read before an error is returned by the next call of this method or of
        :meth:`poll`.

        Args:
            stable: As in :meth:`TopicFollower.mark_end`.

        Raises:
            UnavailableError: The broker does not answer, or no offset could be read for 30 s.
        """
        for part in self.parts_to_end(stable=stable):
            self._held += part
        return self._released()

    def parts_to_end(self, *, stable: bool = True) -> Iterator[Sequence[ControlRecord]]:
        """Yield the same records as :meth:`to_end`, as they are read: never all of them at once.

        An error loses no record: what was yielded before it is not read again.

        Args:
            stable: As in :meth:`TopicFollower.mark_end`.

        Raises:
            UnavailableError: As :meth:`to_end`.
        """
        self._follower.mark_end(stable=stable)
        while self._follower.left:
            raw = self._follower.poll_to_end(_RECORDS, _STEP_SECONDS)
            if raw is not None:
                yield _rows(raw)

    def mark_end(self, *, stable: bool = True) -> None:
        """Note the topic's current end; see :meth:`TopicFollower.mark_end`."""
        self._follower.mark_end(stable=stable)

    @property
    def left(self) -> int:
        """Number of offsets before the noted end."""
        return self._follower.left

    def poll(self, wait: float) -> Sequence[ControlRecord]:
        """Return the records that arrive within ``wait`` seconds, as soon as there are any.

        Raises:
            UnavailableError: The topic is gone or may not be read.
        """
        return self._released() or self._read(wait)

    def _read(self, wait: float) -> list[ControlRecord]:
        raw = self._follower.poll(_RECORDS, wait)
        return [] if raw is None else _rows(raw)

    def _released(self) -> list[ControlRecord]:
        held, self._held = self._held, []
        return held

    def close(self) -> None:
        """Close the connection."""
        self._follower.close()


def append(kafka: Kafka, topic: str, value: bytes, key: bytes | None = None) -> int:
    """Append one record, and return its offset once all replicas have it.

    Args:
        kafka: The cluster.
        topic: The topic.
        value: The record's bytes.
        key: Its key; None: it has none.

    Raises:
        TransactionError: The broker refuses it.
        UnavailableError: The broker does not answer; the record may or may not be there.
    """
    options = client_options.common(kafka) | {
        "client.id": f"{kafka.group}-rollout",
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "delivery.timeout.ms": int(_APPEND_SECONDS * 1_000),
    }
    told: list[tuple[KafkaError | None, Any]] = []
    producer = Producer(options)
    try:
        producer.produce(topic, value, key, on_delivery=lambda *each: told.append(each))
        producer.flush(_APPEND_SECONDS + 1)
    except KafkaException as error:
        told = [(error.args[0], None)]
    finally:
        producer.close()
    if not told or (told[0][0] is not None and _lost(told[0][0])):
        why = told[0][0].str() if told and told[0][0] else "no answer in time"
        raise UnavailableError(
            f"topic {topic}: {why}: whether the command was written is not known",
            "look before you give it again: stream-scorer rollout history",
        )
    refused, message = told[0]
    if refused is not None:
        raise TransactionError(
            f"topic {topic}: the command was refused: {refused.str()}",
            "check this client's right to write there, and the topic's limits",
        )
    return int(message.offset())


def _lost(error: KafkaError) -> bool:
    return error.code() in {
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001 the binding's public constants
        KafkaError._TRANSPORT,  # noqa: SLF001 the same
        KafkaError._TIMED_OUT,  # noqa: SLF001 the same
    }


def _refuse_broken(topic: str, follower: TopicFollower) -> None:
    if len(follower.partitions) != 1:
        count = len(follower.partitions)
        raise RolloutError(
            f"topic {topic}: has {count} partitions, so its records have no single order",
            "name a topic that `stream-scorer topics create` made",
        )
    first = follower.first[follower.partitions[0]]
    if first:
        raise RolloutError(
            f"topic {topic}: its beginning is gone, it starts at offset {first}",
            "restore it from a backup; "
            "see docs/RUNBOOK.md, section 'The scorer left with exit code 11'",
        )


def _rows(raw: RawRecords) -> list[ControlRecord]:
    times: list[int | None] = [None] * len(raw)
    if raw.appended is not None:
        marked = zip(raw.timestamp.tolist(), raw.appended.tolist(), strict=True)
        times = [at if appended else None for at, appended in marked]
    return [
        ControlRecord(offset, key, value, at)
        for offset, key, value, at in zip(
            raw.offset.tolist(), raw.keys, raw.values, times, strict=True
        )
    ]
