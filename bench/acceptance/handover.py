"""How long partitions pause, and what is decided twice, when a group changes as planned.

Scorers with 10,000 customers per partition, each with 60 events in 30 days, decide a steady input:
one instance, then a second that joins (scale-out), a third, and a rolling restart of all three,
each stopped with SIGTERM and restarted before the next.

- ``pause_seconds``: the longest pause of any partition: a record was there and nothing was decided.
  Computed from the times at which the broker received the records and their decisions.
- ``oldest_seconds``: the age of the oldest record when its decision came.
- ``duplicates``, ``lost``: by the source coordinates of decisions and dead letters.
- ``moved``: partitions that had to change hands.
"""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from confluent_kafka import Producer

from bench.harness import customers
from bench.harness.arena import FULL, PARTITIONS, Arena
from bench.harness.process import Contender, until
from bench.harness.script import Number, Script, say, table
from bench.verdicts.handover import Counted, Phase, counted, failures, report
from stream_scorer.kafka.topics import client_options
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.state.stores.topic_store import publish

_GROUP = "handover"
_SOURCE = "handover.transactions"
_INSTANCES = 3
_SECONDS = 120.0
_FLUSH_SECONDS = 60


class Instance:
    """One instance of the scorer, started and stopped as an operator would.

    Args:
        arena: Where.
        number: Its number, which is its name in the group.
    """

    def __init__(self, arena: Arena, number: int) -> None:
        self.number = number
        self._arena = arena
        self.entry = arena.entry(
            f"{_GROUP}-{number}", _SOURCE, "run", "--model", FULL, outputs=_GROUP, probed=True,
            kafka={"group": _GROUP, "instance": str(number)},
        )  # fmt: skip
        self._contender: Contender | None = None

    @property
    def contender(self) -> Contender:
        """Its process."""
        if self._contender is None:
            raise RuntimeError("not started")
        return self._contender

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._contender is not None

    def start(self) -> None:
        """Start it; return when its probe reports that it is ready."""
        self._contender = self._arena.start(self.entry)
        self._contender.begin()
        until(self._contender.ready, f"{self.entry.name} is ready", _SECONDS)

    def stop(self) -> None:
        """Stop it gracefully."""
        code = self.contender.stop()
        if code != 0:
            raise SystemExit(f"{self.entry.name} exited with {code}: {self.contender.last}")
        self._contender = None

    def owned(self) -> set[int]:
        """Return the partitions that the group has given to it."""
        prefix = f"{_GROUP}-{self.number}-"
        members = self._arena.members(_GROUP)
        return {p for name, mine in members.items() if name.startswith(prefix) for p in mine}


class SteadyInput(threading.Thread):
    """Sends the customers' next events at a steady rate until it is stopped.

    Args:
        arena: Where to.
        keys: How many customers there are.
        rate: Events per second.
    """

    def __init__(self, arena: Arena, keys: int, rate: int) -> None:
        super().__init__(name="input", daemon=True)
        self.sent = 0
        self._keys = keys
        self._rate = rate
        self._encode = TransactionEncoder(arena.settings.registry)
        self._producer = Producer(
            client_options.common(arena.settings.kafka)
            | {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 5}
        )
        self._enough = threading.Event()

    def _events(self) -> Iterator[tuple[bytes, bytes]]:
        first = 0
        while True:
            rows = customers.later_events(first, self._rate, self._keys)
            keys = rows.column("customer_id").cast(pa.binary()).to_pylist()
            yield from zip(keys, self._encode(rows), strict=True)
            first += self._rate

    def run(self) -> None:
        """Send, on this separate thread."""
        started = time.monotonic()
        for key, value in self._events():
            self._producer.produce(_SOURCE, value, key)
            self.sent += 1
            if self.sent % 10 == 0:
                self._producer.poll(0)
                due = started + self.sent / self._rate
                if self._enough.wait(max(due - time.monotonic(), 0)):
                    return

    def stop(self) -> int:
        """Stop; return how many events the broker has taken."""
        self._enough.set()
        self.join()
        if left := self._producer.flush(_FLUSH_SECONDS):
            raise SystemExit(f"{left} events were not acknowledged")
        return self.sent


class Change:
    """The group, changed step by step under load.

    Args:
        arena: Where.
        keys: How many customers there are, over all partitions.
        rate: Events per second.
        settle: Seconds between two changes, once all are ready.
    """

    def __init__(self, arena: Arena, keys: int, rate: int, settle: float) -> None:
        self.phases: list[Phase] = []
        self._arena = arena
        self._keys = keys
        self._settle = settle
        arena.create({_SOURCE: PARTITIONS}, **{"message.timestamp.type": "LogAppendTime"})
        self._instances = [Instance(arena, number) for number in range(_INSTANCES)]
        arena.create_outputs(self._instances[0].entry)
        self._input = SteadyInput(arena, keys, rate)

    def fill(self) -> None:
        """Write a checkpoint in which all customers have a month of history."""
        settings = self._instances[0].entry.settings
        model, plan = load_model(settings, Deployment(FULL))
        where = customers.partitions_of(self._keys, PARTITIONS)
        rings = customers.fill(where, model.features, plan)
        made = customers.checkpoint(rings, settings.kafka, PARTITIONS)
        publish(
            settings.kafka, settings.kafka.topics.state, made, dict.fromkeys(range(PARTITIONS), 0)
        )

    def run(self) -> None:
        """Scale out, then restart all in turn."""
        first, *others = self._instances
        first.start()
        self._input.start()
        self._begin("steady")
        self._settled()
        for number, instance in enumerate(others, 2):
            before = {each.number: each.owned() for each in self._instances if each.running}
            phase = self._begin(f"scale-out to {number}")
            instance.start()
            self._settled()
            phase.moved = sum(
                len(owned - self._instances[at].owned()) for at, owned in before.items()
            )
        for instance in self._instances:
            moved = len(instance.owned())
            self._begin(f"restart of {instance.number}").moved = moved
            instance.stop()
            instance.start()
            self._settled()
        sent = self._input.stop()
        self._arena.wait_committed(self._instances[0].contender, sent, _SECONDS)
        for instance in self._instances:
            instance.stop()

    def _begin(self, name: str) -> Phase:
        say(name)
        self.phases.append(Phase(name, time.time_ns() // 1_000_000))
        return self.phases[-1]

    def _settled(self) -> None:
        """Return when all partitions are spread over all that run, and some time has passed."""
        running = [instance for instance in self._instances if instance.running]

        def spread() -> bool:
            shares = [instance.owned() for instance in running]
            return all(shares) and sum(map(len, shares)) == PARTITIONS

        until(spread, f"partitions are spread over {len(running)}", _SECONDS)
        until(lambda: all(each.contender.ready() for each in running), "all are ready", _SECONDS)
        time.sleep(self._settle)

    def count(self) -> Counted:
        """Read the broker's records, and count."""
        arrived = {
            (message.partition(), message.offset()): message.timestamp()[1]
            for message in self._arena.outputs(_SOURCE)
        }
        return counted(arrived, self._arena.outcomes(self._instances[0].entry))


def measure(keys: int, rate: int, settle: float) -> dict[str, Any]:
    """Change a group as planned; return the report."""
    with Arena() as arena:
        change = Change(arena, keys, rate, settle)
        change.fill()
        say(f"{keys} customers filled")
        change.run()
        return report(change.count(), change.phases, keys) | {"events_per_second": rate}


def main() -> int:
    script = Script(
        __doc__, "fewer customers, a slower input",
        customers=Number(10_000, 1_000, "customers by partition"),
        rate=Number(2_000, 800, "events per second"),
        settle=Number(10.0, 4.0),
    )  # fmt: skip
    options = script.options
    document = measure(PARTITIONS * options.customers, options.rate, options.settle)
    columns = {
        "change": "phase", "moved": "moved", "decisions": "decisions",
        "longest pause s": "pause_seconds", "partition": "partition",
        "oldest s": "oldest_seconds",
    }  # fmt: skip
    rows = ([row[key] for key in columns.values()] for row in document["phases"])
    return script.conclude(
        document,
        failures(document),
        table("Planned changes of a group", *columns, rows=rows),
        f"{document['customers']:,} customers, {document['records']:,} records, "
        f"lost {document['lost']}, duplicates {document['duplicates']}",
    )


if __name__ == "__main__":
    sys.exit(main())
