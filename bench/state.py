"""The costs of much state: memory, restore, checkpoints and speed, 10,000 to 1,000,000 customers.

For each number of customers two scorers run on one Kafka: ``on`` with checkpoints as by default,
and ``off`` without, which is sent a part of the events, enough for a rate. Both begin with the same
checkpoint, in which every customer has 60 events in 30 days. It is made by the core's fold and the
scorer's own checkpoint code (``bench/harness/customers.py``), and restored like any other.

- ``bytes_per_key``: resident memory of a scorer once its state is complete, less that of a scorer
  that restored a checkpoint without customers, by customer.
- ``restore_seconds``: from the process's start until the state of all partitions is complete.
- ``events_per_second``: of the input, from the broker's times of arrival of the summaries, one per
  transaction. A round's events become visible together, with the commit of the transaction in which
  they were sent, and only one scorer has work at a time.
- ``checkpoint_cost``: how much slower ``on`` is in events per second, a median over rounds in which
  both ways and all sizes take turns.
- ``checkpoint_cycles``: from the buckets that the scorer reports as written in these rounds.
- ``restart_seconds``, ``replayed``: the same scorer restarted after the rounds, when its buckets
  have many different offsets: the checkpoint is read and the input since then replayed.
"""

import os
import sys
from pathlib import Path

import pyarrow as pa

import stream_scorer
from bench.harness import customers, traffic
from bench.harness.arena import PARTITIONS, Arena
from bench.harness.event_model import train_model
from bench.harness.script import Number, Script, say, table
from bench.harness.state_runner import MODEL, Runner
from bench.verdicts.state import (
    MOST_COST,
    QUICK_MOST_COST,
    Size,
    failures,
    report,
    round_events,
)
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.producing.transactions import TransactionEncoder
from tests.support.core.manifests import RICH

FEATURES = tuple(RICH)
"""The scorers' features: fifteen of several kinds."""

_WARM_UP_EVENTS = 50_000
_OFF_EVENTS = 150_000
_TRAINING_ROWS = 60_000
_AT_ONCE = 5_000


def machine_code() -> set[tuple[Path, int]]:
    """Return the files that numba keeps compiled kernels in, with their times."""
    kept = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(stream_scorer.__file__).parent)
    return {(path, path.stat().st_mtime_ns) for path in kept.rglob("*.nbc")}


class Race:
    """All scorers on one Kafka.

    Args:
        arena: Where.
        sizes: What to measure.
        paid: Checkpoint bytes per event; None takes the default.
    """

    def __init__(self, arena: Arena, sizes: list[Size], paid: float | None) -> None:
        self._arena = arena
        self._paid = arena.settings.state.bytes_per_event if paid is None else paid
        self._sizes = sizes
        self._encode = TransactionEncoder(arena.settings.registry)
        self._empty = Runner(arena, None, "on", self._paid)
        self._pairs = [
            (size, [Runner(arena, size, way, self._paid) for way in ("on", "off")])
            for size in sizes
        ]

    def fill(self) -> None:
        """Write all checkpoints."""
        settings = self._empty.entry.settings
        model, plan = load_model(settings, Deployment(MODEL))
        where = customers.partitions_of(max(size.keys for size in self._sizes), PARTITIONS)
        for keys, size, runners in [(0, None, [self._empty])] + [
            (size.keys, size, runners) for size, runners in self._pairs
        ]:
            rings = customers.fill(where[:keys], model.features, plan)
            for runner in runners:
                written = runner.fill(
                    customers.checkpoint(rings, runner.entry.settings.kafka, PARTITIONS)
                )
                if size is not None:
                    size.state_bytes = written
            say(f"{keys} customers filled")

    def start(self) -> None:
        """Start all processes together, to save time; their imports then disturb one another."""
        for runner in [self._empty, *(each for _, pair in self._pairs for each in pair)]:
            runner.start()

    def restore(self) -> None:
        """Restore the scorers' checkpoints, one after the other, and measure their memory."""
        known = machine_code()
        self._empty.restore()
        if not known or machine_code() != known:
            # The first process of a new environment compiles the kernels and keeps that memory.
            self._empty.restart()
        nothing = self._empty.contender.resident
        self._empty.stop()
        for size, runners in self._pairs:
            for runner in runners:
                seconds = runner.restore()
                size.restore_seconds = max(size.restore_seconds, seconds)
                memory = runner.contender.resident - nothing
                size.memory = max(size.memory, memory)
                say(f"{runner.entry.name}: {seconds:.1f} s, {memory} bytes")

    def run(self, rounds: int) -> None:
        """Warm all of them up, then measure them in turns."""
        for size, runners in self._pairs:
            self._round(size, runners, _WARM_UP_EVENTS)
        before = [runners[0].total("checkpoint_buckets_total") for _, runners in self._pairs]
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for turn in range(len(self._pairs)):
                size, runners = self._pairs[(number + turn) % len(self._pairs)]
                events = round_events(size, PARTITIONS, self._paid, rounds)
                # The first one finds the broker busy with the new records, so the order alternates.
                self._round(size, runners[:: 1 if number % 2 == 0 else -1], events)
                size.events += events
        for (size, runners), written in zip(self._pairs, before, strict=True):
            size.buckets = runners[0].total("checkpoint_buckets_total") - written
            for runner in runners:
                size.rates[runner.way] = runner.rates()

    def restart(self, *, hurry: bool) -> None:
        """Restart those that write checkpoints; in a hurry, all import at the same time."""
        if hurry:
            for _, (on, off) in self._pairs:
                off.stop()
                on.renew()
        for size, (on, off) in self._pairs:
            off.stop()
            size.restart_seconds = on.restore() if hurry else on.restart()
            size.replayed = on.total("restore_replayed_records")
            on.stop()

    def _round(self, size: Size, runners: list[Runner], events: int) -> None:
        """Send a round and let it be decided; without checkpoints a part is enough for a rate.

        Each continues where its own last round ended: skipping what the other was sent meanwhile
        would age its histories, and short ones are folded faster.
        """
        part = max(min(events, _OFF_EVENTS), events // 4)
        for runner in runners:
            self._send(size, runner, part if runner.way == "off" else events)
        for runner in runners:
            runner.drain()

    def _send(self, size: Size, runner: Runner, events: int) -> None:
        """Send a round to one scorer, which sees nothing of it yet."""
        first = sum(runner.feed.rounds)
        runner.feed.begin()
        for at in range(0, events, _AT_ONCE):
            rows = customers.later_events(first + at, min(_AT_ONCE, events - at), size.keys)
            keys = rows.column("customer_id").cast(pa.binary()).to_pylist()
            runner.feed.send(keys, self._encode(rows))
        runner.feed.flush()


def measure(sizes: list[Size], rounds: int, paid: float | None, *, hurry: bool) -> None:
    """Fill, restore and measure all sizes."""
    with Arena() as arena:
        train_model(
            traffic.transactions(_TRAINING_ROWS), arena.directory / "models", MODEL,
            FEATURES,
        )  # fmt: skip
        race = Race(arena, sizes, paid)
        if hurry:
            race.start()
        race.fill()
        race.restore()
        race.run(rounds)
        race.restart(hurry=hurry)


def main() -> int:
    script = Script(
        __doc__, "fewer customers, a fifth of a cycle",
        sizes=Number((10_000, 100_000, 1_000_000), (10_000, 30_000)),
        cycles=Number((3.0, 3.0, 1.0), (0.2, 0.2)),
        most_cost=Number(MOST_COST, QUICK_MOST_COST),
        rounds=Number(4, 3, "interleaved rounds"),
        bytes_per_event=Number(None, None, "other than the default budget"),
    )  # fmt: skip
    options = script.options
    sizes = [Size(*size) for size in zip(options.sizes, options.cycles, strict=True)]
    measure(sizes, options.rounds, options.bytes_per_event, hurry=script.quick)
    document = report(sizes, PARTITIONS)
    failed = failures(document, options.cycles, options.most_cost)
    document |= {"rounds": options.rounds, "seconds": script.seconds}
    columns = {
        "customers": "keys", "bytes each": "bytes_per_key", "restore s": "restore_seconds",
        "events/s": "events_per_second", "without": "without_checkpoints",
        "cost": "checkpoint_cost", "cycles": "checkpoint_cycles", "events": "events",
        "restart s": "restart_seconds", "replayed": "replayed",
    }  # fmt: skip
    rows = ([row[key] for key in columns.values()] for row in document["sizes"])
    return script.conclude(
        document,
        failed,
        table("State and its checkpoints", *columns, rows=rows),
        f"slowest / smallest size: {document['flatness']}",
    )


if __name__ == "__main__":
    sys.exit(main())
