"""Offline decisions and their way back: is each there once, and how fast do devices drain?

``python -m bench.edge_steps.offline`` has four devices decide 10,000 transactions offline.
Their processes are killed five times, and a disk is full once. Then a server takes their uploads;
each device is killed between the commit and the deletion. A scorer decides all. Everything is
counted from the topics.

- ``lost``, ``duplicates``: of rows in the input and of decisions.
- ``as_on_device``: published decisions with the device's outcome.
- ``drained_per_second``: rows, all devices together, while no scorer runs.
- ``report``, ``replayed``: where the scorer would have differed, by ``edge report`` and by one
  batch of the core.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.harness.script import Script, missed
from stream_scorer.devkafka import DevKafka
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.settings import Kafka
from tests.support.device.offline import failures, offline_run

DEVICES: Final = 4
DECISIONS: Final = 10_000
QUICK: Final = 800
LEAST_DRAINED: Final = 5_000
"""Rows a second; not judged with few of them."""


def main() -> int:
    script = Script(__doc__, f"{QUICK} transactions")
    each = (QUICK if script.quick else DECISIONS) // DEVICES
    with tempfile.TemporaryDirectory(prefix="offline-") as folder:
        place = Path(folder)
        with DevKafka(1, place / "broker") as broker:
            kafka = Kafka(bootstrap=broker.bootstrap)
            create_topics(kafka, replication=1)
            found = offline_run(kafka, place, DEVICES, each)
    failed = failures(found)
    failed += missed(("{} processes were killed", found["killed"], "==", 5 + DEVICES))
    if not script.quick:
        failed += missed(
            ("{} rows drained per second", found["drained_per_second"], ">=", LEAST_DRAINED)
        )
    return script.conclude(found | {"seconds": script.seconds}, failed)


if __name__ == "__main__":
    sys.exit(main())
