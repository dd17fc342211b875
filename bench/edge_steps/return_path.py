"""A device's rows on their way back: how fast they drain, and what verifying them costs.

``python -m bench.edge_steps.return_path`` decodes uploads as the API does and publishes them to a
real Kafka, in transactions of 1,000 rows, with the scorer off; then it verifies as many rows as a
scorer does before it decodes them. Two further devices upload as many rows through gateways that
are killed before a commit, or between it and the answer, so that the device repeats rows that are
published. For the second one, gateways do not check what is published: rows must be there twice, or
the kills show nothing. Every row is counted in the topic.

- ``drained_per_second``: rows from the JSON of an upload to its commit.
- ``repeated_per_second``: rows of uploads that were published already.
- ``verified_per_second``: rows from their headers to the accepted decision, in a second of a core.
- ``lost``, ``duplicates``: of the rows in the topic, of the first two devices.
- ``killed``: where gateways were killed.
- ``duplicates_without_check``: of the third device.
- ``plain_ns``: what a scorer pays for a record without headers, with one header, and with five,
  none of them a device's, to find out that the batch has no row of a device; time of a core.
"""

import base64
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.harness.script import Number, Script, missed, table
from stream_scorer.devkafka import DevKafka
from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.claims.headers import claimed
from stream_scorer.edge.claims.verify import verified
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.scoring.edge_rows import EdgeJudge
from stream_scorer.serving.edge.upload_body import uploaded
from stream_scorer.settings import Kafka
from tests.support.edge.devices import (
    LABEL,
    RELEASE,
    Allowed,
    MadeDevice,
    decision_of,
    records_of,
)
from tests.support.edge.published import Delivery, rows_in
from tests.support.way_back.gateways import EdgeGateway, upload_with_kills

AT_ONCE: Final = 1_000
LEAST_DRAINED: Final = 5_000
_BATCH: Final = 25_000
_SEED: Final = 1
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
    gateway = EdgeGateway(kafka)
    bodies = bodies_of(rows)
    seconds = []
    try:
        for _ in range(2):
            began = time.perf_counter()
            for body in bodies:
                gateway.publisher.publish(device.name, uploaded(body, AT_ONCE)[1])
            seconds.append(time.perf_counter() - began)
    finally:
        gateway.close()
    delivery = Delivery.of(rows_in(kafka, kafka.topics.transactions), device.name, len(rows))
    return {
        "drained_per_second": round(len(rows) / seconds[0]),
        "repeated_per_second": round(len(rows) / seconds[1]),
        "lost": delivery.lost, "duplicates": delivery.duplicates,
    }  # fmt: skip


def killed(kafka: Kafka, count: int, *, checked: bool) -> dict[str, Any]:
    """Upload rows through gateways that are killed; return where, and what is in the topic."""
    device = MadeDevice("till-2" if checked else "till-3")
    rows = rows_of(device, count)
    with ExitStack() as stack:

        def opened(*args: Any, **options: Any) -> EdgeGateway:
            gateway = EdgeGateway(*args, **options)
            stack.callback(gateway.close)
            return gateway

        steps = upload_with_kills(kafka, opened, device.name, rows, AT_ONCE, _SEED, checked=checked)
    delivery = Delivery.of(rows_in(kafka, kafka.topics.transactions), device.name, count)
    return {"killed": dict(Counter(steps))} | {
        "lost": delivery.lost, "duplicates": delivery.duplicates,
    }  # fmt: skip


def plain_ns(count: int, headers: int) -> float:
    """Return what it costs a scorer to find no device in records with so many headers, each.

    Args:
        count: Records of a batch.
        headers: Headers of each.
    """
    raw = records_of(
        [(b"key", b"")] * count,
        {row: [(f"header-{n}", b"") for n in range(headers)] for row in range(count)},
    )
    raw = raw if headers else replace(raw, headers=None)
    judge, times = EdgeJudge(), []
    for _ in range(21):
        began = time.thread_time_ns()
        judge(raw)
        times.append(time.thread_time_ns() - began)
    return round(statistics.median(times) / count, 2)


def verified_rate(device: MadeDevice, rows: Sequence[EdgeRow]) -> float:
    """Return how many rows a scorer verifies in a second."""
    releases = {LABEL: replace(RELEASE, features=_FEATURES)}
    allowed = Allowed({device.name: device.allowed()}, releases)
    raw = records_of([(device.name, row) for row in rows])
    began = time.thread_time()
    claims, refused = verified(claimed(raw)[0], allowed)
    seconds = time.thread_time() - began
    if refused or len(claims) != len(rows):
        raise ValueError(f"{len(refused)} rows were refused: {next(iter(refused.values()))}")
    return round(len(rows) / seconds)


def measure_return(count: int) -> dict[str, Any]:
    """Return the report for as many rows of each device."""
    device = MadeDevice("till-1")
    rows = rows_of(device, count)
    found: dict[str, Any] = {
        "rows": count, "verified_per_second": verified_rate(device, rows),
        "plain_ns": {str(headers): plain_ns(_BATCH, headers) for headers in (0, 1, 5)},
    }  # fmt: skip
    with tempfile.TemporaryDirectory("-bench") as folder, DevKafka(1, Path(folder)) as broker:
        kafka = Kafka(bootstrap=broker.bootstrap)
        create_topics(kafka, replication=1)
        found |= drained(kafka, device, rows)
        with_kills = killed(kafka, count, checked=True)
        unchecked = killed(kafka, count, checked=False)
    for name in ("lost", "duplicates"):
        found[name] += with_kills[name]
    found["killed"] = with_kills["killed"]
    found["duplicates_without_check"] = unchecked["duplicates"]
    return found


def return_failures(found: dict[str, Any]) -> list[str]:
    """Return one line for each promise that is missed."""
    return missed(
        ("{} rows lost", found["lost"], "==", 0),
        ("{} duplicates", found["duplicates"], "==", 0),
        ("{} gateways killed after a commit", found["killed"].get("committed", 0), ">=", 1),
        ("{} duplicates without the check", found["duplicates_without_check"], ">=", 1),
        ("{} rows drained per second", found["drained_per_second"], ">=", LEAST_DRAINED),
    )


def main() -> int:
    """Run it."""
    script = Script(
        __doc__, "fewer rows", rows=Number(20_000, 4_000, "rows of each device"),
    )  # fmt: skip
    found = measure_return(script.options.rows)
    shown = table("The way back", "", "value", rows=found.items())
    return script.conclude(found | {"seconds": script.seconds}, return_failures(found), shown)


if __name__ == "__main__":
    sys.exit(main())
