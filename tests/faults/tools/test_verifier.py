"""The verifier is independent of the scorer, and reads the log as Kafka's own tool does."""

import ast
import os
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.faults.verifier.reader import read_to_end
from tests.faults.verifier.segments import (
    Fate,
    Marker,
    PartitionLog,
    Written,
    read_partition,
)
from tests.support.faults.proxy import Behind
from tests.support.kafka.tools import run_tool

VERIFIER = Path(__file__).parents[1] / "verifier"
_DUMP = "org.apache.kafka.tools.DumpLogSegments"


def test_it_imports_nothing_of_ours() -> None:
    files = sorted(VERIFIER.glob("*.py"))
    assert len(files) >= 5
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("stream_scorer"), f"{path.name}: {name}"
                if name.startswith("tests."):
                    assert name.startswith("tests.faults.verifier."), f"{path.name}: {name}"


def log(*entries: Written | Marker) -> PartitionLog:
    return PartitionLog(
        tuple(e for e in entries if isinstance(e, Written)),
        tuple(e for e in entries if isinstance(e, Marker)),
    )


def test_a_record_ends_with_the_next_marker_of_its_producer() -> None:
    found = log(
        Written(0, 1, producer=7, epoch=0, transactional=True),
        Written(2, 2, producer=8, epoch=0, transactional=True),
        Marker(3, producer=8, epoch=0, committed=True),
        Marker(4, producer=7, epoch=0, committed=False),
        Written(5, 5, producer=7, epoch=0, transactional=True),
        Marker(6, producer=7, epoch=0, committed=True),
        Written(7, 7, producer=9, epoch=0, transactional=False),
        Written(8, 8, producer=7, epoch=0, transactional=True),
    )
    assert found.fates() == {
        0: Fate.ABORTED, 1: Fate.ABORTED, 2: Fate.COMMITTED, 5: Fate.COMMITTED, 7: Fate.PLAIN,
        8: Fate.OPEN,
    }  # fmt: skip
    assert found.end == 9


@pytest.mark.parametrize(
    ("marker", "fate"),
    [
        (Marker(1, 7, epoch=3, committed=False), Fate.ABORTED),  # a successor fenced it
        (Marker(1, 7, epoch=3, committed=True), Fate.ABORTED),  # a commit of another producer
        (Marker(1, 7, epoch=2, committed=True), Fate.COMMITTED),
        (Marker(1, 7, epoch=1, committed=True), Fate.OPEN),  # late, by an older producer
    ],
)
def test_a_marker_is_judged_by_its_epoch(marker: Marker, fate: Fate) -> None:
    assert log(Written(0, 0, 7, epoch=2, transactional=True), marker).fates() == {0: fate}


@pytest.mark.thorough
@pytest.mark.kafka
def test_it_reads_segments_as_kafkas_own_tool_does(behind: Behind) -> None:
    topic = "verifier-segments"
    options = {"bootstrap.servers": behind.kafka.internal_bootstrap}
    # Small segments, and values that do not compress, so that there are several segments.
    config = {"segment.bytes": "1048576"}
    client = AdminClient(options)
    client.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result()
    for number in range(6):
        producer = Producer(
            options
            | {
                "transactional.id": f"verifier-{number % 2}",
                "compression.type": ("none", "lz4", "gzip")[number % 3],
            }
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for _ in range(40):
            producer.produce(topic, os.urandom(4_500).hex(), b"key")
        producer.flush(30)
        if number % 3 == 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    producer = Producer(options)
    producer.produce(topic, b"plain")
    assert producer.flush(30) == 0

    folder = behind.kafka.directory / "node-0" / "data"
    found = read_partition([folder], topic, 0)
    files = sorted((folder / f"{topic}-0").glob("*.log"))
    assert len(files) > 1
    told = run_tool(behind.kafka, _DUMP, "--print-data-log", "--files", ",".join(map(str, files)))
    assert told.returncode == 0, told.stderr
    batches, markers = [], []
    for line in told.stdout.splitlines():
        if match := re.match(r"baseOffset: (\d+) lastOffset: (\d+) ", line):
            values = dict(re.findall(r"(\w+): (\S+)", line))
            head = Written(
                int(match[1]), int(match[2]), int(values["producerId"]),
                int(values["producerEpoch"]), values["isTransactional"] == "true",
            )  # fmt: skip
            if values["isControl"] == "false":
                batches.append(head)
        elif match := re.search(r"endTxnMarker: (\w+)", line):
            markers.append(Marker(head.last, head.producer, head.epoch, match[1] == "COMMIT"))
    assert len(markers) == 6
    assert found == PartitionLog(tuple(batches), tuple(markers))
    fates = list(found.fates().values())
    counts = {fate: fates.count(fate) for fate in set(fates)}
    assert counts == {Fate.COMMITTED: 160, Fate.ABORTED: 80, Fate.PLAIN: 1}


@pytest.mark.thorough
@pytest.mark.kafka
def test_a_topic_is_read_from_its_oldest_record(behind: Behind) -> None:
    topic, bootstrap = "verifier-retention", behind.kafka.internal_bootstrap
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(topic, 2, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(5):
        producer.produce(topic, str(number), partition=0)
        producer.produce(topic, str(number), partition=1)
    assert producer.flush(30) == 0
    # Retention has taken the beginning of one partition, and all of the other.
    for future in client.delete_records(
        [TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 5)]
    ).values():
        future.result()
    assert [(seen.partition, seen.offset) for seen in read_to_end(bootstrap, [topic])] == [
        (0, 3), (0, 4)
    ]  # fmt: skip
