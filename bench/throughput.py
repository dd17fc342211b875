"""How many events per second: the scorer compared with the floor and a good hand-written loop.

One run, one Kafka, one input topic. Every contender is a separate process, restarted for each
measurement with a new group and output topics. Rounds are interleaved and rotate, medians are
reported. Only ratios inside one run count: the cores are shared and noisy.

- ``floor``: consume, produce the same bytes, offsets, commit; no decoding and no model.
- ``handwritten``: fastavro in, amount, weekend and night, scikit-learn's ``predict_proba`` in
  batches, fastavro out with id, score and decision. Its model is the one of ``ours_stateless``:
  the shipped kind and iterations, trained on the three columns that it has.
- ``ours_stateless``: ``stream-scorer run`` with that same model: no rings.
- ``ours_full``: ``stream-scorer run`` with the shipped model (validation, customer features,
  reasons, metrics endpoint), and ``stream-scorer monitor``, which watches for drift.
- ``one_percent_malformed``, ``mixed_writer_schemas``: the same with malformed records, and with
  records of three writers' schemas.

All are exactly-once with the same client options and the same largest batch. The rate comes from
the broker's own time of arrival of the output records, read after the run. The first fifth of every
row does not count: connections are made, and a scorer takes over its partitions one by one, while
it already decides those that it has.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.harness import traffic
from bench.harness.arena import FULL, Arena
from bench.harness.event_model import NAME, bundle_directory, train_event_model
from bench.harness.gates import RATIOS, ROWS, failures, rate, report
from bench.harness.process import Contender
from bench.harness.script import Number, Script, table

_WARM_UP_ROUNDS = 1
_LEAST_RATE = 2_000
_START_SECONDS = 60.0
_WATCHED = frozenset({"ours_full", "one_percent_malformed", "mixed_writer_schemas"})
_INPUT = {"one_percent_malformed": "spoilt", "mixed_writer_schemas": "mixed"}


@dataclass(slots=True)
class Measured:
    """The results of all rounds, by row."""

    rates: dict[str, list[float]] = field(default_factory=lambda: {row: [] for row in ROWS})
    sizes: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Starter:
    """A row's processes, waiting for their signal."""

    row: str
    contender: Contender
    monitor: Contender | None


class Race:
    """Runs every row once a round.

    Args:
        arena: Where.
        events: Records of each input topic.
        store: Where the event-only model is, or will be when the first round begins.
    """

    def __init__(self, arena: Arena, events: int, store: Path) -> None:
        self._arena = arena
        self._events = events
        self._store = store
        self.sizes_in: dict[str, float] = {}
        self.measured = Measured()

    def line_up(self, number: int, rows: tuple[str, ...]) -> list[Starter]:
        """Start the processes of a round, which then wait.

        Their start is not measured.
        """
        starters = [
            Starter(
                row,
                self._start(f"{row}-{number}", row),
                self._start(f"{row}-{number}", "monitor") if row in _WATCHED else None,
            )
            for row in rows
        ]
        self._arena.create_outputs(*(starter.contender.entry for starter in starters))
        return starters

    def run(self, starters: list[Starter]) -> None:
        """Measure the rows of a round, one after the other."""
        for starter in starters:
            for process in (starter.contender, starter.monitor):
                if process is not None:
                    process.wait_ready()
        for starter in starters:
            self._measure(starter)

    def _start(self, name: str, row: str) -> Contender:
        arena, source = self._arena, _INPUT.get(row, "clean")
        if row == "floor":
            entry = arena.entry(name, source, "floor")
        elif row == "handwritten":
            entry = arena.entry(name, source, "handwritten", str(bundle_directory(self._store)))
        elif row == "ours_stateless":
            entry = arena.entry(
                name, source, "run", "--from", "earliest", "--model", NAME, store=self._store
            )
        elif row == "monitor":
            entry = arena.entry(
                f"{name}-monitor", source, "monitor", "--from", "earliest", outputs=name
            )
        else:
            entry = arena.entry(name, source, "run", "--from", "earliest", "--model", FULL)
        return arena.start(entry)

    def _measure(self, starter: Starter) -> None:
        """Run a contender until its input is drained; count its outputs, and measure."""
        arena, row, contender = self._arena, starter.row, starter.contender
        if starter.monitor is not None:
            starter.monitor.go()
            arena.wait_committed(starter.monitor, 0, _START_SECONDS)
        contender.go()
        arena.wait_committed(contender, self._events, _START_SECONDS + self._events / _LEAST_RATE)
        contender.ask_to_end()
        if starter.monitor is not None:
            # It has read summaries, so it took part.
            arena.wait_committed(starter.monitor, 1, _START_SECONDS)
            starter.monitor.ask_to_end()
        topics = contender.entry.settings.kafka.topics
        times, out, letters = [], 0, 0
        for message in arena.outputs(topics.decisions, topics.dead_letters):
            times.append(message.timestamp()[1])
            out += len(message.value())
            letters += message.topic() == topics.dead_letters
        for process in (contender, starter.monitor):
            if process is not None:
                process.stop()
        source = _INPUT.get(row, "clean")
        spoilt = traffic.spoilt_count(self._events) if source == "spoilt" else 0
        if len(times) != self._events or letters != spoilt:
            raise SystemExit(
                f"{contender.entry.name}: {self._events} records in, {len(times)} out, "
                f"{letters} of them dead letters where {spoilt} were malformed"
            )
        stored = arena.stored_bytes(topics.decisions) + arena.stored_bytes(topics.dead_letters)
        self.measured.rates[row].append(rate(np.array(times)))
        self.measured.sizes[row] = {
            "in": self.sizes_in[source],
            "out": out / self._events,
            "stored": stored / self._events,
        }


def measure(events: int, rounds: int) -> Measured:
    """Feed the inputs and run all rounds."""
    with Arena() as arena:
        race = Race(arena, events, arena.directory / "models")
        # A broker that has just started compiles its code: such laps do not count. A full run has
        # laps for every row, since each uses other code of the broker.
        laps = [("floor",), *[ROWS] * _WARM_UP_ROUNDS] if rounds > 1 else [("floor",)]
        starters = race.line_up(0, laps[0])
        table = traffic.transactions(events)
        train_event_model(table, arena.directory / "models")
        for topic, batches in (
            ("clean", traffic.clean), ("spoilt", traffic.spoilt), ("mixed", traffic.mixed),
        ):  # fmt: skip
            race.sizes_in[topic] = arena.feed(topic, batches(table, arena.registry))
        turns = [ROWS[n % len(ROWS) :] + ROWS[: n % len(ROWS)] for n in range(rounds)]
        for number, following in enumerate([*laps[1:], *turns], 1):
            race.run(starters)
            if number <= len(laps):
                race.measured = Measured()
            starters = race.line_up(number, following)
        race.run(starters)
        return race.measured


def main() -> int:
    script = Script(
        __doc__, "fewer events, one round",
        events=Number(900_000, 300_000, "records of each run"),
        pairs=Number(5, 1, "interleaved rounds"),
    )  # fmt: skip
    events = script.options.events
    measured = measure(events, script.options.pairs)
    document = report(measured.rates, measured.sizes, events) | {"seconds": script.seconds}
    return script.conclude(
        document,
        failures(document),
        table(
            "Exactly-once events per second",
            "row", "events/s", "every round", "bytes in", "bytes out", "stored out",
            rows=(
                (
                    row, document[row],
                    " ".join(f"{one / 1_000:.0f}k" for one in measured.rates[row]),
                    *document["bytes"][row].values(),
                )
                for row in ROWS
            ),
        ),
        "Bytes are those of a record's value, on average; stored is what the broker keeps of an "
        "output record: all rows compress with lz4, keys and overhead included.",
        *(
            f"{name}: {above} / {below} = {document['ratios'][name]}, at least {least}"
            for name, (above, below, least) in RATIOS.items()
        ),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
