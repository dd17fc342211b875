"""An input whose records are rejected for causes that can be fixed, and both configurations."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.dead_letters.progress import Selection
from stream_scorer.dead_letters.replay import Replayed, replay
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import (
    MODELS_DIRECTORY,
    SCHEMAS_DIRECTORY,
    Kafka,
    Registry,
    Replay,
    Settings,
)
from tests.support.faults.reference_run import PARTITIONS, Record, transaction_codec, transactions
from tests.support.state.stage import Life

UNKNOWN, INCOMPATIBLE = 77, 78
"""Schema ids that the broken registry does not know, or knows without a required field."""

FIXABLE = (
    "UNKNOWN_SCHEMA", "INCOMPATIBLE_SCHEMA", "TOO_LARGE", "AMOUNT_TOO_LARGE", "TIME_AHEAD",
)  # fmt: skip
"""Reasons whose cause a person can fix while state is kept; CURRENCY is one without state."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A record with its Kafka timestamp, ms; 0 is the broker's."""

    record: Record
    timestamp: int = 0


def rejected_and_good(days: int = 6, customers: int = 40) -> list[Timed]:
    """Return transactions; every tenth good one is preceded by one that must be rejected.

    The rejected ones take turns by reason, and their customers have accepted ones before and
    after them, so that folding one of them changes what others see.
    """
    found: list[Timed] = []
    good = [record for record in transactions(days, customers) if not record.bad]
    for number, record in enumerate(good):
        if number % 10 == 5:
            found.append(_bad(record, number, FIXABLE[number // 10 % len(FIXABLE)]))
        found.append(Timed(record))
    return found


def _bad(record: Record, number: int, reason: str) -> Timed:
    row = dict(transaction_codec().decode(record.value or b"", _Ours()))
    moment = int(row["event_time"].timestamp() * 1_000)
    row |= {"transaction_id": f"fixable-{number}", "event_time": moment}
    row |= {"amount_minor": 30_000_000} if reason == "AMOUNT_TOO_LARGE" else {}
    row |= {"terminal_id": "t" * 600} if reason == "TOO_LARGE" else {}
    schema_id = {"UNKNOWN_SCHEMA": UNKNOWN, "INCOMPATIBLE_SCHEMA": INCOMPATIBLE}.get(reason)
    codec = transaction_codec()
    if schema_id is not None:
        codec = RecordCodec(schema_id, reader_schema("transaction.v1"))
    bad = Record(record.key, codec.encode(row), reason)
    return Timed(bad, moment - 600_000 if reason == "TIME_AHEAD" else 0)


class _Ours:
    """Knows the one schema that all records are written with."""

    def writer_schema(self, _: int) -> str:
        return reader_schema("transaction.v1")

    def id_for(self, _: str, __: str) -> int:
        return 1


def feed_timed(kafka: Kafka, records: Sequence[Timed]) -> dict[int, int]:
    """Produce records in order; return how many each partition got."""
    producer = Producer(
        client_options.common(kafka) | {"enable.idempotence": True, "linger.ms": 20}
    )
    counts = dict.fromkeys(range(PARTITIONS), 0)
    for each in records:
        record = each.record
        producer.produce(
            kafka.topics.transactions, record.value, record.key, record.partition,
            timestamp=each.timestamp,
        )  # fmt: skip
        counts[record.partition] += 1
    assert producer.flush(30) == 0
    return counts


@dataclass(frozen=True, slots=True)
class Configuration:
    """A plan and a registry of files."""

    plan: Path
    schemas: Path

    def of(self, settings: Settings) -> Settings:
        """Return settings with this registry."""
        return settings.model_copy(update={"registry": Registry(directory=self.schemas)})


def broken_and_fixed(folder: Path) -> tuple[Configuration, Configuration]:
    """Write the configuration that rejects, and the one in which every cause is fixed."""
    text = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text()
    limits = {
        "amount_minor_max = 1_000_000_000_000": "amount_minor_max = 20_000_000",
        "string_bytes_max = 1_024": "string_bytes_max = 512",
    }
    narrow = text
    for before, after in limits.items():
        assert before in text
        narrow = narrow.replace(before, after)
    wide = text.replace("ahead_ms = 300_000", "ahead_ms = 900_000")
    assert wide != text
    without = json.loads(reader_schema("transaction.v1"))
    without["fields"] = [f for f in without["fields"] if f["name"] != "terminal_id"]
    broken = _written(folder / "broken", narrow, {INCOMPATIBLE: json.dumps(without)})
    ours = reader_schema("transaction.v1")
    return broken, _written(folder / "fixed", wide, {UNKNOWN: ours, INCOMPATIBLE: ours})


def _written(folder: Path, plan: str, more: dict[int, str]) -> Configuration:
    schemas = folder / "schemas"
    shutil.copytree(SCHEMAS_DIRECTORY, schemas)
    index = json.loads((schemas / "registry.json").read_text())
    for number, schema in more.items():
        (schemas / f"{number}.avsc").write_text(schema)
        entry = {
            "id": number,
            "subject": f"s{number}-value",
            "version": 1,
            "file": f"{number}.avsc",
        }
        index["schemas"].append(entry)
    (schemas / "registry.json").write_text(json.dumps(index))
    (folder / "plan.toml").write_text(plan)
    return Configuration(folder / "plan.toml", schemas)


def replay_letters(kafka: Kafka, *reasons: str) -> Replayed:
    """Copy the dead letters back as ``dlq replay`` does."""
    settings = Settings(kafka=kafka, replay=Replay(group=f"replay-{kafka.group}"))
    return replay(settings, Selection(frozenset(reasons)))


def ends_of(kafka: Kafka) -> dict[int, int]:
    """Return the next offset of each partition's last record; a marker may come after it."""
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for message in read_all(kafka, kafka.topics.transactions):
        ends[message.partition()] = message.offset() + 1
    return ends


def beside(kafka: Kafka, create: Callable[..., Kafka], other: Kafka) -> Kafka:
    """Return another group of the same input, with separate outputs."""
    topics = other.topics.model_copy(update={"transactions": kafka.topics.transactions})
    return create(other.model_copy(update={"topics": topics}))


def dumps(life: Life) -> dict[int, list[bytes]]:
    """Return every bucket's bytes, once everyone has left whose time has come."""
    found: dict[int, list[bytes]] = {}
    for partition in life.work.rings.partitions():
        rings: Any = life.work.rings.of(partition)
        rings.evict(10**9)
        found[partition] = [rings.dump(number) for number in range(BUCKETS)]
    return found
