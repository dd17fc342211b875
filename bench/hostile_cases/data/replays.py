"""Dead letters that an attacker forges, and bounded reads of topics, on a real broker."""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.hostile_cases.case import NotThereError, Place, cases, entry
from bench.hostile_cases.host.terminals import letter

BOOTSTRAP: Final = "HOSTILE_BOOTSTRAP"
"""The variable that names the broker of a run."""
_SECONDS: Final = 20.0
Written = Sequence[tuple[bytes | None, list[tuple[str, bytes]]]]


def settings_of_a_run() -> Any:
    """Return settings with separate topics on the run's broker."""
    address = os.environ.get(BOOTSTRAP)
    if address is None:
        raise NotThereError("no broker was started")
    unique = uuid.uuid4().hex[:8]
    module = entry("stream_scorer.settings")
    names = {
        name: f"{unique}-{field.default}" for name, field in module.Topics.model_fields.items()
    }
    kafka = module.Kafka(
        bootstrap=address, group=f"g-{unique}", instance="0", topics=module.Topics(**names)
    )
    entry("stream_scorer.kafka.topics.create_topics", "create_topics")(kafka, 1, replication=1)
    return module.Settings(kafka=kafka)


def _produce(kafka: Any, topic: str, records: Written) -> None:
    from confluent_kafka import Producer  # noqa: PLC0415 no librdkafka in the warm process

    producer: Any = Producer({"bootstrap.servers": kafka.bootstrap})
    for value, headers in records:
        producer.produce(topic, value, None, 0, headers=headers)
    if producer.flush(_SECONDS):
        raise RuntimeError("records were not acknowledged")


def _forged(kafka: Any, value: bytes, offset: int | str, **changed: bytes) -> Any:
    given = {
        "dlq_source_topic": kafka.topics.transactions.encode(),
        "dlq_source_partition": b"0", "dlq_source_offset": str(offset).encode(), **changed,
    }  # fmt: skip
    return value, letter(**given)


def any_letter(kafka: Any, offset: int) -> list[tuple[bytes, bytes]]:
    """Return a dead letter's own headers, which name an offset of the input's partition 0."""
    _, headers = _forged(kafka, b"", offset)
    return [(name.encode(), text) for name, text in headers]


def _omitting(kafka: Any, omitted: bytes) -> Any:
    _, headers = _forged(kafka, b"", 0)
    return None, [("dlq.omitted", omitted), *headers]


def _copied(forge: Callable[[Any], Written], **options: Any) -> Callable[[Place], str]:
    """Run ``dlq replay`` over forged dead letters; offset 0 of the input holds ``good``."""

    def run(_: Place) -> str:
        settings = settings_of_a_run()
        kafka = settings.kafka
        _produce(kafka, kafka.topics.transactions, [(b"good", []), (b"other", [])])
        _produce(kafka, kafka.topics.dead_letters, forge(kafka))
        chosen = entry("stream_scorer.dead_letters.progress", "Selection")(frozenset())
        found = entry("stream_scorer.dead_letters.replay", "replay")(settings, chosen, **options)
        copied = found.copied.total()
        mismatched = getattr(found, "mismatched", 0)
        return (
            f"{copied} copied, {mismatched} mismatched, {found.foreign} foreign, "
            f"{found.other_input} of another input, {found.replayed_before} replayed before"
        )

    return run


def _deleted(_: Place) -> str:
    """Replay a dead letter whose source record retention has taken."""
    from confluent_kafka import TopicPartition  # noqa: PLC0415 as above
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 as above

    settings = settings_of_a_run()
    kafka = settings.kafka
    _produce(kafka, kafka.topics.transactions, [(b"good", []), (b"other", [])])
    admin: Any = AdminClient({"bootstrap.servers": kafka.bootstrap})
    place = TopicPartition(kafka.topics.transactions, 0, 1)
    for future in admin.delete_records([place]).values():
        future.result()
    _produce(kafka, kafka.topics.dead_letters, [_forged(kafka, b"good", 0)])
    chosen = entry("stream_scorer.dead_letters.progress", "Selection")(frozenset())
    found = entry("stream_scorer.dead_letters.replay", "replay")(settings, chosen)
    return f"{found.copied.total()} copied"


def _transaction(kafka: Any, topic: str, count: int, end: str) -> Any:
    """Write records in a transaction that is committed, aborted or left open."""
    from confluent_kafka import Producer  # noqa: PLC0415 as above

    producer: Any = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": uuid.uuid4().hex,
         "transaction.timeout.ms": 2_000}
    )  # fmt: skip
    producer.init_transactions(_SECONDS)
    producer.begin_transaction()
    for number in range(count):
        producer.produce(topic, b"%d" % number, None, 0)
    producer.flush(_SECONDS)
    if end == "commit":
        producer.commit_transaction(_SECONDS)
    elif end == "abort":
        producer.abort_transaction(_SECONDS)
    return producer


def _read(*ends: str) -> Callable[[Place], str]:
    """Read a topic that transactions of three records each were written to, one after another."""

    def run(_: Place) -> str:
        kafka = settings_of_a_run().kafka
        topic = kafka.topics.decisions
        held = [_transaction(kafka, topic, 3, end) for end in ends]
        began = time.monotonic()
        found = list(entry("stream_scorer.kafka.reading.read_to_end", "read_all")(kafka, topic))
        seconds = time.monotonic() - began
        del held
        return f"{len(found)} records, {'soon' if seconds < 9 else f'after {seconds:.0f} s'}"

    return run


def _stalled(_: Place) -> str:
    """Wait for records that never come."""
    limit = entry("stream_scorer.kafka.reading.read_limit", "ReadLimit")("t", {0: 10, 1: 5})
    for seconds in range(100):
        try:
            limit.note({0: 4, 1: 5}, 1.0)
        except entry("stream_scorer.errors", "UnavailableError") as error:
            return f"an error after {seconds} s: {error}"
    return "silence ends it"


_NONE: Final = "0 copied, 1 mismatched"
CASES: Final = (
    *cases(
        "replay", 15,
        ("the record that its source offset holds", "replay", "1 copied, 0 mismatched",
         _copied(lambda k: [_forged(k, b"good", 0)])),
        ("another record than its source offset holds", "replay", _NONE,
         _copied(lambda k: [_forged(k, b"evil", 0)])),
        ("the bytes of another offset", "replay", _NONE,
         _copied(lambda k: [_forged(k, b"other", 0)])),
        ("an offset past the input's end", "replay", _NONE,
         _copied(lambda k: [_forged(k, b"good", 9_000)])),
        ("a header that the original does not have", "replay", _NONE,
         _copied(lambda k: [(b"good", [("x", b"1"), *_forged(k, b"good", 0)[1]])])),
        ("a record that retention took", "retention", "OffsetsError: .*--trust-headers", _deleted),
        ("a forged omission of a small record", "omission", _NONE,
         _copied(lambda k: [_omitting(k, b"value 4")])),
        ("an omission of 10^18 bytes, and a true letter", "omission", "1 copied, 0 mismatched",
         _copied(lambda k: [_omitting(k, b"value 1" + b"0" * 18), _forged(k, b"good", 0)])),
        ("an omission of an unknown length", "omission", "1 copied, 0 mismatched",
         _copied(lambda k: [_omitting(k, b"value ?"), _forged(k, b"good", 0)])),
        ("a partition that the input does not have", "replay", _NONE,
         _copied(lambda k: [_forged(k, b"good", 0, dlq_source_partition=b"77")])),
        ("another topic", "replay", ".* 1 of another input",
         _copied(lambda k: [_forged(k, b"good", 0, dlq_source_topic=b"secrets")])),
        ("headers that are not ours", "replay", ".* 1 foreign",
         _copied(lambda _: [(b"good", [("dlq.reason", b"CURRENCY")])])),
        ("an offset of 5,000 digits", "replay", ".* 1 foreign",
         _copied(lambda k: [_forged(k, b"good", "9" * 5_000)])),
    ),
    *cases(
        "reads", 11,
        ("a transaction that was aborted at the end", "reads", "3 records, soon",
         _read("commit", "abort")),
        ("nothing but aborted transactions", "reads", "0 records, soon", _read("abort", "abort")),
        ("a stranger's transaction that is abandoned", "open", "3 records",
         _read("commit", "open")),
        ("records that never come", "stalled", "an error after", _stalled),
    ),
)  # fmt: skip
