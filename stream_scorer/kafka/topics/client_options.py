"""librdkafka options for every client that we open, from the settings."""

from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from stream_scorer.errors import SettingsError
from stream_scorer.settings import Kafka

MESSAGE_BYTES_MAX: Final = 1_048_576 + 65_536
"""Size of the largest record that our transactional producers send, uncompressed, as librdkafka
counts it: with its headers. A topic may accept less."""


def common(kafka: Kafka) -> dict[str, Any]:
    """Return the options that every client shares: address, credentials, time limits."""
    options: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap,
        "socket.timeout.ms": kafka.socket_timeout_ms,
        "socket.nagle.disable": True,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        # After a commit the coordinator answers CONCURRENT_TRANSACTIONS for a moment. The default
        # of 100 ms would be the latency of every transaction (99 ms instead of 4.6 ms).
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 5,
        "log_level": 0,
    }
    if kafka.password is not None:
        options["sasl.password"] = kafka.password.get_secret_value()
    return options | {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in kafka.client.items()
    }


def member_name(kafka: Kafka, group: str | None = None) -> str:
    """Return a process's name in a group: its client id and, for a static member, its instance id.

    It need only be unique in the group; for a transactional id see ``kafka.membership``.
    """
    return f"{group or kafka.group}-{kafka.instance}"


def consumer(kafka: Kafka, group: str | None = None) -> dict[str, Any]:
    """Return the options of a transaction loop's consumer: read committed, no auto-commit."""
    return common(kafka) | {
        "group.id": group or kafka.group,
        "client.id": member_name(kafka, group),
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "max.poll.interval.ms": kafka.max_poll_interval_ms,
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 100,
        "fetch.error.backoff.ms": 50,
        # With a full queue, librdkafka does not fetch for this long. Its default of 1,000 ms is
        # longer than we take to empty the queue (118 k instead of 138 k events/s).
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 65_536,
        "enable.partition.eof": False,
        "statistics.interval.ms": round(kafka.statistics_seconds * 1_000),
    }


def member(kafka: Kafka, group: str | None = None) -> dict[str, Any]:
    """Return the options of a consumer that joins its group to be assigned partitions."""
    options = consumer(kafka, group) | {"group.protocol": kafka.group_protocol}
    if kafka.static_membership:
        options["group.instance.id"] = options["client.id"]
    if kafka.group_protocol == "classic":
        # Under KIP-848 the broker determines sessions, heartbeats and assignment, and librdkafka
        # refuses these options; rebalances are always incremental there.
        options |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": kafka.session_timeout_ms,
            "heartbeat.interval.ms": max(kafka.session_timeout_ms // 4, 250),
        }
    return options


def producer(kafka: Kafka, transactional_id: str) -> dict[str, Any]:
    """Return the options of a transactional producer."""
    return common(kafka) | {
        "transactional.id": transactional_id,
        "client.id": transactional_id,
        "transaction.timeout.ms": kafka.transaction_timeout_ms,
        # A missing topic is reported within the transaction, not at its end, when the next producer
        # would wait from the beginning.
        "topic.metadata.propagation.max.ms": min(kafka.transaction_timeout_ms // 3, 5_000),
        "enable.idempotence": True,
        "acks": "all",
        # Adding partitions to the transaction takes longer, so this delays no record. Without a
        # linger, single records of a batch wake up the sender.
        "linger.ms": 1,
        "compression.type": "lz4",
        # The same partitioner as for transactions, so that both join by customer without a shuffle.
        "partitioner": "murmur2_random",
        # The transactional producer empties the queue before it is full.
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        "batch.num.messages": 100_000,
        "message.max.bytes": MESSAGE_BYTES_MAX,
        "statistics.interval.ms": round(kafka.statistics_seconds * 1_000),
    }


def topics(kafka: Kafka) -> dict[str, dict[str, str]]:
    """Return, by topic, the options in which a producer's differ."""
    # A checkpoint is mostly hashes: LZ4 takes longer than the dump and saves nothing, and the
    # broker decompresses it again.
    return {kafka.topics.state: {"compression.codec": "none"}}


def reader(kafka: Kafka, group: str) -> dict[str, Any]:
    """Return the options of a plain read-committed reader that assigns partitions to itself."""
    return common(kafka) | {
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
        "fetch.queue.backoff.ms": 10,
        "enable.partition.eof": True,
    }


def refused_option(error: KafkaException) -> SettingsError | None:
    """Return the user's error for an option in ``kafka.client`` that the library refused.

    Only librdkafka knows its options, and it reports them when the first client is made.

    Returns:
        None for any other failure.
    """
    cause = error.args[0]
    if cause.code() != KafkaError._INVALID_ARG:  # noqa: SLF001 the binding's own name
        return None
    # The message about a range ends with a newline.
    return SettingsError(f"setting kafka.client: {cause.str().strip()}", "correct the option")
