"""How old a decision is when a reader sees it: from the producer's schedule to a live reader.

A record's age begins at its scheduled time, even if a slow producer sends it later, and ends when a
``read_committed`` consumer returns it. ``bare`` is the floor of ``bench/throughput.py``: the same
exactly-once loop without decoding and without a model. ``ours`` is ``stream-scorer run`` together
with ``stream-scorer monitor``. Both take turns on one Kafka with the same client options; the first
seconds of each turn are left out.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from bench.harness.arena import FULL, PARTITIONS, Arena
from bench.harness.process import Contender
from bench.harness.script import Number, Script, table
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import Float64

_WARM_UP_SECONDS = 2
_START_SECONDS = 60.0
_LATE_SECONDS = 30.0
_ID_AT = 6
WAYS = ("bare", "ours")


def row_number(value: bytes) -> int | None:
    """Return a simulated transaction's number: the first field of both schemas, in digits.

    None means a record that is not from the simulator.
    """
    try:
        return int(value[_ID_AT : _ID_AT + value[_ID_AT - 1] // 2])
    except (ValueError, IndexError):
        return None


class Reader:
    """A live reader that notes when it received each record."""

    def __init__(self, arena: Arena, topic: str) -> None:
        self._consumer = Consumer(
            client_options.reader(arena.settings.kafka, f"{topic}-reader")
            | {"enable.partition.eof": False}
        )
        self._consumer.assign([TopicPartition(topic, part, 0) for part in range(PARTITIONS)])
        self._taken: list[tuple[float, list[Any]]] = []

    def read(self, count: int, deadline: float) -> None:
        """Read until ``count`` records have come."""
        seen = 0
        while seen < count:
            first = self._consumer.poll(0.1)
            if first is None:
                if time.time() > deadline:
                    raise SystemExit(f"{seen} of {count} decisions came in time")
                continue
            messages = [first, *self._consumer.consume(10_000, 0)]
            self._taken.append((time.time(), messages))
            seen += len(messages)

    def close(self) -> dict[int, float]:
        """Leave; return seconds since the epoch by transaction number."""
        self._consumer.close()
        return {
            number: at
            for at, messages in self._taken
            for message in messages
            if (number := row_number(message.value())) is not None
        }


def ages(
    arena: Arena, source: str, seen: Mapping[int, float], warm_up: int
) -> tuple[dict[int, float], Float64]:
    """Return when each transaction was due, and float64[n], ages of their decisions, in ms.

    Args:
        arena: Where.
        source: The input, whose records have their scheduled time.
        seen: From :meth:`Reader.close`.
        warm_up: Seconds from the first transaction that are left out.
    """
    due = {
        number: message.timestamp()[1]
        for message in arena.outputs(source)
        if (number := row_number(message.value() or b"")) is not None
    }
    start = min(due.values()) + warm_up * 1_000
    found = [seen[row] * 1_000 - at for row, at in due.items() if at >= start and row in seen]
    return due, np.array(found)


def turn(arena: Arena, name: str, way: str, rate: int, seconds: int) -> Float64:
    """Run one way at one rate; return float64[n], ages in ms."""
    source, count = f"{name}.transactions", rate * seconds
    arena.create({source: PARTITIONS})
    command = ("floor",) if way == "bare" else ("run", "--from", "earliest", "--model", FULL)
    entry = arena.entry(name, source, *command)
    arena.create_outputs(entry)
    processes = [arena.start(entry)]
    if way == "ours":
        watch = arena.entry(
            f"{name}-monitor", source, "monitor", "--from", "earliest", outputs=name
        )
        processes.append(arena.start(watch))
    producer = arena.start(
        arena.entry(f"{name}-producer", source, "schedule", str(rate), str(count))
    )
    for process in (*processes, producer):
        process.wait_ready()
    for process in processes:
        process.go()
    _wait_joined(arena, processes, way)
    reader = Reader(arena, entry.settings.kafka.topics.decisions)
    producer.go()
    reader.read(count, time.time() + seconds + _LATE_SECONDS)
    for process in processes:
        process.stop()
    seen = reader.close()
    due, found = ages(arena, source, seen, _WARM_UP_SECONDS)
    if seen.keys() != due.keys():
        raise SystemExit(f"{name}: {len(due)} transactions, {len(seen)} decisions")
    return found


def _wait_joined(arena: Arena, processes: list[Contender], way: str) -> None:
    """Return when the scorer and its monitor have joined; the bare loop does within the warm-up."""
    if way == "ours":
        for process in processes:
            arena.wait_committed(process, 0, _START_SECONDS)


def measure(rates: tuple[int, ...], rounds: int, seconds: int) -> list[dict[str, float]]:
    """Run every rate and way in turn; return medians over the rounds."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    with Arena() as arena:
        # A broker that has just started is slow: one turn that does not count.
        turn(arena, "warm-up", "bare", rates[-1], _WARM_UP_SECONDS + 1)
        for number in range(rounds):
            for rate in rates:
                for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                    found_ages = turn(arena, f"{way}-{rate}-{number}", way, rate, seconds)
                    middle, tail = np.percentile(found_ages, [50, 99])
                    found[rate, way].append((float(middle), float(tail)))
    return [
        {
            "rate": rate,
            **{
                f"{way}_{name}_ms": round(
                    float(np.median([one[at] for one in found[rate, way]])), 1
                )
                for way in WAYS
                for at, name in enumerate(("p50", "p99"))
            },
        }
        for rate in rates
    ]


def main() -> int:
    script = Script(
        __doc__, "one rate, one round",
        rates=Number((1_000, 5_000, 10_000), (5_000,)), rounds=Number(3, 1), seconds=Number(10, 6),
    )  # fmt: skip
    options = script.options
    rates = measure(options.rates, options.rounds, options.seconds)
    columns = ("events/s", "bare p50", "bare p99", "ours p50", "ours p99")
    shown = table("Age, ms", *columns, rows=(row.values() for row in rates))
    return script.conclude({"rates": rates}, [], shown)


if __name__ == "__main__":
    sys.exit(main())
