"""A device's rows on their way back: how fast they drain, and what verifying them costs.

``python -m bench.edge_steps.return_path`` decodes uploads as the API does and publishes them to a
real Kafka, in transactions of 1,000 rows, with the scorer off; then it verifies as many rows as a
scorer does before it decodes them. Every row is counted in the topic.

- ``drained_per_second``: rows from the JSON of an upload to its commit.
- ``verified_per_second``: rows from their headers to the accepted decision, one core.
- ``repeated_per_second``: rows of uploads that were published already.
- ``lost``, ``duplicates``: of the rows in the topic.
"""

import base64
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.harness.script import Gate, Number, Script, missed, table
from stream_scorer.devkafka import DevKafka
from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.claims.headers import claimed
from stream_scorer.edge.claims.verify import verified
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, producer_maker
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.serving.edge.upload_body import uploaded
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings
from tests.support.edge.devices import (
    LABEL,
    RELEASE,
    Allowed,
    MadeDevice,
    decision_of,
    records_of,
)
from tests.support.edge.published import Delivery, rows_in

AT_ONCE: Final = 1_000
LEAST_DRAINED: Final = 5_000
_VALUE: Final = bytes(150)
_FEATURES: Final = 21
_BYTES: Final = ("key", "value", "decision", "previous", "signature")


def rows_of(device: MadeDevice, count: int) -> list[EdgeRow]:
    """Return rows of the size of real ones."""
    return [
        device.row(
            _VALUE, decision_of(f"{n:032d}", features=bytes(8 * _FEATURES)), b"c%d" % (n % 997)
        )
        for n in range(count)
    ]


def bodies_of(rows: Sequence[EdgeRow]) -> list[bytes]:
    """Return the uploads of rows."""
    return [
        json.dumps(
            {
                "rows": [
                    {"sequence": row.sequence}
                    | {name: base64.b64encode(getattr(row, name)).decode() for name in _BYTES}
                    for row in rows[at : at + AT_ONCE]
                ]
            }
        ).encode()
        for at in range(0, len(rows), AT_ONCE)
    ]


def drained(kafka: Kafka, device: MadeDevice, rows: Sequence[EdgeRow]) -> dict[str, Any]:
    """Publish rows, and publish them again; return rates and what is in the topic."""
    progress = ProgressTopic(Settings(kafka=kafka), FileRegistry(SCHEMAS_DIRECTORY))
    publisher = EdgePublisher(
        kafka.topics.transactions, progress, producer_maker(kafka, lambda _: None)
    )
    bodies = bodies_of(rows)
    seconds = []
    try:
        for _ in range(2):
            began = time.perf_counter()
            for body in bodies:
                publisher.publish(device.name, uploaded(body, AT_ONCE)[1])
            seconds.append(time.perf_counter() - began)
    finally:
        publisher.close()
        progress.close()
    delivery = Delivery.of(rows_in(kafka, kafka.topics.transactions), device.name, len(rows))
    return {
        "drained_per_second": round(len(rows) / seconds[0]),
        "repeated_per_second": round(len(rows) / seconds[1]),
        "lost": delivery.lost, "duplicates": delivery.duplicates,
    }  # fmt: skip


def verified_rate(device: MadeDevice, rows: Sequence[EdgeRow]) -> float:
    """Return how many rows a scorer verifies in a second."""
    releases = {LABEL: replace(RELEASE, features=_FEATURES)}
    allowed = Allowed({device.name: device.allowed()}, releases)
    raw = records_of([(device.name, row) for row in rows])
    began = time.perf_counter()
    claims, refused = verified(claimed(raw)[0], allowed)
    seconds = time.perf_counter() - began
    if refused or len(claims) != len(rows):
        raise ValueError(f"{len(refused)} rows were refused: {next(iter(refused.values()))}")
    return round(len(rows) / seconds)


def main() -> int:
    """Run it."""
    script = Script(
        __doc__, "fewer rows", rows=Number(20_000, 4_000, "rows of the device"),
    )  # fmt: skip
    device = MadeDevice("till-1")
    rows = rows_of(device, script.options.rows)
    found: dict[str, Any] = {"rows": len(rows), "verified_per_second": verified_rate(device, rows)}
    with tempfile.TemporaryDirectory("-bench") as folder, DevKafka(1, Path(folder)) as broker:
        kafka = Kafka(bootstrap=broker.bootstrap)
        create_topics(kafka, replication=1)
        found |= drained(kafka, device, rows)
    gates: list[Gate] = [
        ("{} rows lost", found["lost"], "==", 0),
        ("{} duplicates", found["duplicates"], "==", 0),
        ("{} rows drained per second", found["drained_per_second"], ">=", LEAST_DRAINED),
    ]
    shown = table("The way back", "", "value", rows=found.items())
    return script.conclude(found, missed(*gates), shown)


if __name__ == "__main__":
    sys.exit(main())
