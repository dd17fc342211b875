"""What of a device's rows is in Kafka, read from the topics alone."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from stream_scorer.codec.records.record import RecordDecoder
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka


def rows_in(kafka: Kafka, topic: str) -> Counter[tuple[str, int]]:
    """Return (device, sequence) of each committed record of a topic that names a device."""
    found: Counter[tuple[str, int]] = Counter()
    for message in read_all(kafka, topic):
        told = dict(message.headers() or ())
        if EDGE_DEVICE in told:
            found[told[EDGE_DEVICE].decode(), int(told[EDGE_SEQUENCE])] += 1
    return found


def progress_in(kafka: Kafka) -> dict[str, EdgeProgress]:
    """Return the newest committed progress of each device."""
    schema = reader_schema("edge-progress.v1")
    decoder = RecordDecoder(FileRegistry(SCHEMAS_DIRECTORY), schema)
    found: dict[str, EdgeProgress] = {}
    for message in read_all(kafka, kafka.topics.edge_progress):
        record: dict[str, Any] = decoder.decode(message.value())
        before = found.get(record["device"], EdgeProgress())
        assert record["sequence"] > before.sequence, "progress went back"
        found[record["device"]] = EdgeProgress(record["sequence"], record["chain"])
    return found


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a device's rows arrived.

    Attributes:
        lost: Rows that are not there.
        duplicates: Further records of rows that are there.
    """

    lost: int
    duplicates: int

    @classmethod
    def of(cls, rows: Counter[tuple[str, int]], device: str, count: int) -> "Delivery":
        """Return it for a device with ``count`` rows."""
        mine = {number: n for (name, number), n in rows.items() if name == device}
        assert set(mine) <= set(range(1, count + 1))
        return cls(count - len(mine), sum(mine.values()) - len(mine))
