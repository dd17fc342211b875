"""What the previous version left in its topics and its folder: ``version-before.xz``.

``python -m tests.recorded.record`` wrote it with commit cc8b8a8 of 2026-11-26. Unpacked, it is a
line of JSON, then the bytes whose lengths the JSON gives: each topic's keys and values, and the
files.
"""

import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import LATEST, bounds, offsets
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Topics
from tests.support.faults.process import wait_until

GROUP = "recorded"
GROUPS = (GROUP, f"{GROUP}-profiler")
DEMO = "drift_events of the demo"
"""The session has too few records for a monitor."""
TOPICS = {name: f"{GROUP}-{topic}" for name, topic in Topics().model_dump().items()}
DOCUMENTS = ("rollout status", "rollout history", "dlq list")
_FILE = Path(__file__).with_name("version-before.xz")
_ANSWER_SECONDS = 30.0


class Record(NamedTuple):
    """A committed record of a topic."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Recording:
    """The recording.

    Attributes:
        records: Each partition's records in order, by the topic's name in the settings.
        ends: The last stable offset of each partition, by that name.
        committed: (topic, partition, offset, metadata), by group.
        files: By path in the folder: the model store, public keys and the audit log.
        documents: What each command printed with ``--json`` at the end.
    """

    records: dict[str, list[Record]]
    ends: dict[str, list[int]]
    committed: dict[str, list[tuple[str, int, int, str | None]]]
    files: dict[str, bytes]
    documents: dict[str, Any]

    def write(self, path: Path) -> None:
        head = {
            "records": {name: _columns(rows) for name, rows in self.records.items()},
            "ends": self.ends,
            "committed": self.committed,
            "files": {name: len(data) for name, data in self.files.items()},
            "documents": self.documents,
        }
        parts = [json.dumps(head).encode(), b"\n"]
        for rows in self.records.values():
            parts += [row.key or b"" for row in rows] + [row.value or b"" for row in rows]
        whole = b"".join([*parts, *self.files.values()])
        path.write_bytes(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME))

    @classmethod
    def read(cls, path: Path) -> "Recording":
        file = BytesIO(lzma.decompress(path.read_bytes()))
        head = json.loads(file.readline())
        records = {}
        for name, (*places, keys, values, headers) in head["records"].items():
            bodies = [
                [None if n is None else file.read(n) for n in each] for each in (keys, values)
            ]
            theirs = [[(k, _bytes(v)) for k, v in row] for row in headers]
            rows = zip(*places, *bodies, theirs, strict=True)
            records[name] = [Record(*row) for row in rows]
        committed = {
            name: [tuple(each) for each in rows] for name, rows in head["committed"].items()
        }
        files = {name: file.read(length) for name, length in head["files"].items()}
        return cls(records, head["ends"], committed, files, head["documents"])


def _columns(rows: list[Record]) -> list[list[Any]]:
    lengths = [
        [None if each is None else len(each) for each in column]
        for column in ([row.key for row in rows], [row.value for row in rows])
    ]
    headers = [
        [(k, None if v is None else v.decode("latin-1")) for k, v in r.headers] for r in rows
    ]
    return [*([row[at] for row in rows] for at in range(3)), *lengths, headers]


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")


@cache
def recorded() -> Recording:
    """Return the recording of the previous version."""
    return Recording.read(_FILE)


def dump(kafka: Kafka, folder: Path, files: Iterator[Path], documents: dict[str, Any]) -> Recording:
    """Read all topics, the groups' offsets, and the files in a folder."""
    consumers = {group: Consumer(client_options.reader(kafka, group)) for group in GROUPS}
    wanted = [TopicPartition(t, p) for t in TOPICS.values() for p in bounds(kafka, t)[1]]
    committed = {
        group: [
            (at.topic, at.partition, at.offset, at.metadata)
            for at in consumer.committed(wanted, timeout=_ANSWER_SECONDS)
            if at.offset >= 0
        ]
        for group, consumer in consumers.items()
    }
    for consumer in consumers.values():
        consumer.close()
    return Recording(
        {name: read_records(kafka, topic) for name, topic in TOPICS.items()},
        {name: [end for _, end in sorted(bounds(kafka, topic)[1].items())]
         for name, topic in TOPICS.items()},
        committed,
        {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)},
        {name: documents[name] for name in DOCUMENTS},
    )  # fmt: skip


def read_records(kafka: Kafka, topic: str) -> list[Record]:
    """Return a topic's committed records, each partition's in order."""
    return sorted(
        (
            Record(
                message.partition(), message.offset(), message.timestamp()[1], message.key(),
                message.value(), message.headers() or [],
            )
            for message in read_all(kafka, topic)
        ),
        key=lambda record: record[:2],
    )  # fmt: skip


def restore(recording: Recording, kafka: Kafka, folder: Path) -> None:
    """Write a recording to a folder and to topics that do not exist yet; see :func:`_write`."""
    (folder / "schemas").symlink_to(SCHEMAS_DIRECTORY)
    for name, data in recording.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    # A recording is older than the usual retention of topics.
    kept = {"cleanup.policy": "delete", "retention.ms": "-1"}
    admin = AdminClient(client_options.common(kafka))
    made = [
        NewTopic(TOPICS[name], len(ends), 1, config=kept) for name, ends in recording.ends.items()
    ]
    for created in admin.create_topics(made).values():
        created.result()
    for name, ends in recording.ends.items():
        _write(kafka, admin, TOPICS[name], recording.records[name], ends)
    for group, rows in recording.committed.items():
        consumer = Consumer(client_options.reader(kafka, group))
        # The binding does not accept None for an offset without metadata.
        places = [TopicPartition(*row[:3], *filter(None, row[3:])) for row in rows]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()


def _write(
    kafka: Kafka, admin: AdminClient, topic: str, records: list[Record], ends: list[int]
) -> None:
    """Write a topic's records so that each has its recorded offset.

    A missing offset after a record was a transaction's marker, so a transaction ends there again. A
    marker before the first record cannot be written alone. In such a partition, all offsets are
    smaller by one. Only topics that scorers write have such partitions, and no committed offset and
    no checkpoint names an offset there.
    """
    plain = Producer(client_options.common(kafka) | {"enable.idempotence": True})
    marking = Producer(client_options.producer(kafka, topic))
    marking.init_transactions()
    for partition, end in enumerate(ends):
        runs: list[list[Record]] = []
        for record in records:
            if record.partition == partition:
                if not runs or record.offset > runs[-1][-1].offset + 1:
                    runs.append([])
                runs[-1].append(record)
        starts = [run[0].offset for run in runs]
        for run, following in zip(runs, [*starts, end][1:], strict=True):
            marked = following > run[-1].offset + 1
            producer = marking if marked else plain
            if marked:
                marking.begin_transaction()
            for record in run:
                producer.produce(
                    topic, record.value, record.key, partition, timestamp=record.timestamp,
                    headers=record.headers,
                )  # fmt: skip
            producer.flush()
            if marked:
                marking.commit_transaction()
            _await_end(kafka, admin, TopicPartition(topic, partition, following - starts[0]))


def _await_end(kafka: Kafka, admin: AdminClient, end: TopicPartition) -> None:
    """Wait until a partition ends at an offset.

    The broker answers a commit before it writes the transaction's marker.
    """
    place = (end.topic, end.partition)

    def now() -> int:
        return offsets(admin, kafka, [place], LATEST, stable=True)[place]

    wait_until(
        lambda: now() >= end.offset,
        lambda: f"{end.topic} {end.partition} ends at {end.offset}, not {now()}",
    )
    assert now() == end.offset
