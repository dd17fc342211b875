"""Import a million labels next to a scorer that is at work; twice; and killed in the middle.

A scorer has decided a backlog, and goes on with 5,000 events a second while labels are imported:

- **first**: a file of a million labels, and a thousand more whose transactions nobody decided.
- **again**: the same file; it may send nothing.
- **killed**: a second file for the same transactions; its import is killed with SIGKILL when some
  labels are in the topic, and run again. Each label must be in the topic exactly once.

It fails if the first import takes more than 60 s, if a label is missing or twice, if foreign ids
are not reported, or if the scorer falls behind: if its backlog then is more than 10 s of events.
"""

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness import customers
from bench.harness.arena import FULL, Arena
from bench.harness.process import Contender, Entry, until
from bench.harness.script import Number, Script, missed, say, table
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.producing.transactions import open_feed
from stream_scorer.settings import Settings

RATE: Final = 5_000.0
MOST_SECONDS: Final = 60.0
FOREIGN: Final = 1_000
_KEYS: Final = 20_000
_SOURCE: Final = "desk.transactions"
_AT_ONCE: Final = 5_000
_PACED_AT_ONCE: Final = 500
_DRAIN_RATE: Final = 4_000
_BEHIND_SECONDS: Final = 10.0
_IMPORT_SECONDS: Final = 400.0
_FIRST_ID: Final = 10**9


class Desk:
    """A topic of transactions, a scorer, and the labels of what it decided.

    Args:
        arena: Where.
        backlog: Events before the import.
    """

    def __init__(self, arena: Arena, backlog: int) -> None:
        self._arena = arena
        arena.create({_SOURCE: arena.partitions})
        self._entry = arena.entry(
            "desk", _SOURCE, "run", "--from", "earliest", "--model", FULL, probed=True
        )
        arena.create_outputs(self._entry)
        arena.create({self._entry.settings.kafka.topics.labels: arena.partitions})
        self._stop = threading.Event()
        self._feeding: threading.Thread | None = None
        self._imports = 0
        self.sent = 0
        with open_feed(self.settings.kafka, self.settings.registry) as feed:
            while self.sent < backlog:
                count = min(_AT_ONCE, backlog - self.sent)
                feed.send(customers.later_events(self.sent, count, _KEYS))
                self.sent += count
        self.scorer = arena.start(self._entry)
        self.scorer.begin()
        self.wait_decided(backlog)

    @property
    def settings(self) -> Settings:
        """The scorer's settings."""
        return self._entry.settings

    def committed(self) -> int:
        """Return how many events the scorer has decided."""
        return self._arena.committed(self.settings.kafka.group, _SOURCE)

    def wait_decided(self, count: int) -> None:
        """Return when so many events are decided."""
        until(
            lambda: self.committed() >= count, lambda: f"{count} events: {self.committed()}",
            60.0 + count / _DRAIN_RATE, self.scorer,
        )  # fmt: skip

    def feed(self) -> None:
        """Send events at the rate, on a thread, until :meth:`end_feed`."""

        def run() -> None:
            with open_feed(self.settings.kafka, self.settings.registry, rate=RATE) as feed:
                while not self._stop.is_set():
                    feed.send(customers.later_events(self.sent, _PACED_AT_ONCE, _KEYS))
                    self.sent += _PACED_AT_ONCE

        self._feeding = threading.Thread(target=run, name="feed")
        self._feeding.start()

    def end_feed(self) -> None:
        """Stop sending."""
        self._stop.set()
        if self._feeding is not None:
            self._feeding.join()

    def importing(self, path: Path) -> Contender:
        """Start an import as an operator would."""
        self._imports += 1
        entry: Entry = self._arena.entry(
            f"import-{self._imports}", _SOURCE, "labels", "import", str(path), "--source", "bank",
            "--json", outputs="desk",
        )  # fmt: skip
        started = self._arena.start(entry)
        started.begin()
        return started

    def imported(self, path: Path) -> tuple[dict[str, Any], float]:
        """Import a file; return the report, and the seconds of the process without its imports."""
        began = time.monotonic()
        process = self.importing(path)
        until(lambda: not process.alive, "the import is over", _IMPORT_SECONDS, self.scorer)
        seconds = time.monotonic() - began
        lines = [line for line in process.said.splitlines() if line.startswith("{")]
        if not lines:
            raise SystemExit(f"the import ended without a report: {process.said[-500:]}")
        return json.loads(lines[-1]), seconds

    def label_ends(self) -> int:
        """Return the sum of the offsets at which the topic of labels ends."""
        _, end = bounds(self.settings.kafka, self.settings.kafka.topics.labels, stable=False)
        return sum(end.values())

    def labels(self) -> Counter[tuple[str, str]]:
        """Return how often each (transaction, reason) is in the topic."""
        topic = self.settings.kafka.topics.labels
        return Counter(
            (row["transaction_id"], row["reason_code"])
            for _, row in self._arena.decode(topic, "label.v2")
        )


def written(path: Path, count: int, foreign: int, reason: str) -> Path:
    """Write a file of labels; the ids of ``foreign`` further ones are of no transaction."""
    ids = [str(_FIRST_ID + at) for at in range(count)] + [f"none-{at}" for at in range(foreign)]
    frauds = np.arange(len(ids)) % 100 == 0
    pq.write_table(
        pa.table(
            {
                "transaction_id": ids,
                "state": np.where(frauds, "FRAUD", "GENUINE"),
                "reason_code": [reason] * len(ids),
                "label_time": customers.START_MS + 10**9 + np.arange(len(ids)),
            }
        ),
        path,
    )
    return path


def measure(count: int, *, quick: bool) -> dict[str, Any]:
    """Run the imports next to a scorer; return the report."""
    with Arena(quick=quick) as arena:
        desk = Desk(arena, count)
        say(f"{count:,} events are decided")
        desk.feed()
        try:
            one = written(arena.directory / "one.parquet", count, FOREIGN, "one")
            two = written(arena.directory / "two.parquet", count, 0, "two")
            first, seconds = desk.imported(one)
            say(f"first: {first['sent']:,} in {seconds:.1f} s")
            behind = desk.sent - desk.committed()
            again, seconds_again = desk.imported(one)
            say(f"again: {again['sent']:,} in {seconds_again:.1f} s")
            before = desk.label_ends()
            process = desk.importing(two)
            until(
                lambda: desk.label_ends() > before + count // 4, "some labels are sent",
                _IMPORT_SECONDS, desk.scorer, process,
            )  # fmt: skip
            process.kill()
            say(f"killed after {desk.label_ends() - before:,} offsets")
            last, seconds_last = desk.imported(two)
            say(f"killed: {last['sent']:,} more in {seconds_last:.1f} s")
        finally:
            desk.end_feed()
        desk.wait_decided(desk.sent)
        found = desk.labels()
    return {
        "labels": count, "sent": first["sent"], "foreign": first["foreign"],
        "seconds": round(seconds, 1), "seconds_of_the_import": first["seconds"],
        "behind": behind, "sent_again": again["sent"], "seconds_again": round(seconds_again, 1),
        "sent_after_the_kill": last["sent"], "there_after_the_kill": last["already_there"],
        "seconds_after_the_kill": round(seconds_last, 1),
        "in_the_topic": len(found), "twice": sum(each > 1 for each in found.values()),
    }  # fmt: skip


def main() -> int:
    """Run the bench; return the exit code."""
    script = Script(
        __doc__, "a twentieth of the labels",
        labels=Number(1_000_000, 50_000, "labels of each file"),
    )  # fmt: skip
    count = script.options.labels
    document = measure(count, quick=script.quick)
    failed = missed(
        ("{} s for the first import", document["seconds"], "<=", MOST_SECONDS),
        ("{} labels were sent", document["sent"], "==", count),
        ("{} foreign ids", document["foreign"], "==", FOREIGN),
        ("{} labels were sent again", document["sent_again"], "==", 0),
        ("{} labels are twice in the topic", document["twice"], "==", 0),
        ("{} labels are in the topic", document["in_the_topic"], "==", 2 * count),
        ("{} labels were there after the kill", document["there_after_the_kill"], ">=", 1),
        ("{} events behind", document["behind"], "<=", _BEHIND_SECONDS * RATE),
    )
    return script.conclude(
        document, failed, table("Import", "", "value", rows=list(document.items()))
    )


if __name__ == "__main__":
    sys.exit(main())
