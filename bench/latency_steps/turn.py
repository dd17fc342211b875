"""One turn: a way to process one input at one rate, measured by its producer and a reader."""

import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

import bench.harness.arena
from bench.harness.arena import Arena
from bench.harness.process import Contender, Entry, until
from bench.latency_steps import bare, reader, send, stages, summaries, trace
from bench.latency_steps.traffic import Traffic
from stream_scorer.ports import Float64

MODEL: Final = "fraud:1.1.0"
"""The shipped version with terminal features: it needs a profiler."""
OURS, BEFORE = "ours", "before"
BARE, NEIGHBOURS, TODAYS = "bare", "bare_neighbours", "bare_before"
_START_SECONDS = 300.0
"""A checkout that has never run compiles its kernels first."""
_LATE_SECONDS = 30.0
_FLUSH_SECONDS = 60.0
_HISTORY_SECONDS = 120.0
_ROOT = Path(bench.harness.arena.__file__).parents[2]
_TOPIC: Final = "STREAM_SCORER_KAFKA__TOPICS__"
_TOPICS_OF: Final = "from stream_scorer.settings import Topics; print(*Topics.model_fields)"
_LOG_TIME: Final = {"message.timestamp.type": "LogAppendTime"}


class TooSlowError(Exception):
    """Not all decisions came in time."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was measured; of n records after the warm-up.

    Attributes:
        ages: float64[n], from the scheduled time to the reader, ms.
        slips: float64[n], from the scheduled time to the producer's client, ms.
        acknowledged: float64[m], from the scheduled time to the broker's answer, of some, ms.
        stages: By stage, percentiles and mean; empty for a way without a trace.
        batches: Size, frequency and laps of the transactions; empty for a way without a trace.
    """

    ages: Float64
    slips: Float64
    acknowledged: Float64
    stages: dict[str, Any] = field(default_factory=dict)
    batches: dict[str, Any] = field(default_factory=dict)


class Turns:
    """Runs turns, each with its own topics and processes, on one Kafka.

    Args:
        arena: Where.
        traffic: File of the input.
        warm_up: Seconds from the first record that do not count.
        before: Root of an earlier checkout, for the way ``before``.
    """

    def __init__(
        self, arena: Arena, traffic: Path, warm_up: float, before: Path | None = None
    ) -> None:
        self._arena = arena
        self._traffic = traffic
        self._warm_up = warm_up
        self._before = before
        self._recordings: dict[int, Path] = {}
        self._number = 0

    def run(self, way: str, rate: int, seconds: float) -> Turn:
        """Run one way at one rate.

        Args:
            way: One of the names above; ``bare_neighbours`` needs a turn of ``ours`` before it.
            rate: Records a second.
            seconds: For how long, with the warm-up.

        Raises:
            TooSlowError: It cannot keep up.
            SystemExit: A process ended, or an output is missing.
        """
        self._number += 1
        name = f"{way}-{rate}-{self._number}".replace("_", "-")
        return _Turn(self, self._arena, name, way, rate, round(rate * seconds)).run()

    def process(self, entry: Entry, root: Path = _ROOT) -> Contender:
        """Start a process that imports from a checkout's root, wherever this one is installed."""
        environment = {**entry.environment, "PYTHONPATH": str(root)}
        if root == self._before:
            # An earlier checkout refuses the names of topics that it does not have.
            environment = {
                name: value for name, value in environment.items()
                if not name.startswith(_TOPIC) or name in self._topics_before
            }  # fmt: skip
        return self._arena.start(replace(entry, environment=environment))

    @cached_property
    def _topics_before(self) -> set[str]:
        """Variables of the topics that the earlier checkout has."""
        told = subprocess.run(  # noqa: S603 a fixed command
            (sys.executable, "-c", _TOPICS_OF), check=True, capture_output=True, text=True,
            cwd=self._before,
        )  # fmt: skip
        return {_TOPIC + name.upper() for name in told.stdout.split()}

    def root_of(self, way: str) -> Path:
        """Return the checkout whose loop runs: the earlier one, if there is one, for its two."""
        if way not in {BEFORE, TODAYS} or (self._before is None and way == TODAYS):
            return _ROOT
        if self._before is None:
            raise SystemExit("the way 'before' needs --before")
        return self._before

    @property
    def traffic(self) -> Path:
        """The input's file."""
        return self._traffic

    @property
    def warm_up(self) -> float:
        """Seconds that do not count."""
        return self._warm_up

    @property
    def recordings(self) -> dict[int, Path]:
        """The newest recording of the scorer's summaries by rate."""
        return self._recordings


class _Turn:
    """The topics and processes of one turn."""

    def __init__(
        self, turns: Turns, arena: Arena, name: str, way: str, rate: int, count: int
    ) -> None:
        self._turns = turns
        self._arena = arena
        self._name = name
        self._way = way
        self._rate = rate
        self._count = count
        self._source = f"{name}.transactions"
        self._trace = arena.directory / f"{name}.trace"
        self._sent = arena.directory / f"{name}.sent.npz"

    def run(self) -> Turn:
        turns, arena = self._turns, self._arena
        loop = self._entry("", *self._command())
        self._create(loop)
        root = turns.root_of(self._way)
        runner = turns.process(loop, root)
        around = self._neighbours(root) if self._way in {OURS, BEFORE, NEIGHBOURS} else []
        timed = [turns.process(entry) for entry in self._timed()]
        for process in (runner, *around, *timed):
            process.wait_ready()
        for process in (runner, *around):
            process.go()
        self._wait_running(runner, around)
        # Closed by ``close``; the arena ends the processes.
        live = reader.Reader(arena, loop.settings.kafka.topics.decisions)
        history = self._send_history(live, timed[-1], around)
        for process in timed:
            process.go()
        until_then = time.time() + self._count / self._rate + _LATE_SECONDS
        if not live.read(history + self._count, until_then):
            late = history + self._count - live.count
            raise TooSlowError(f"{self._name}: {late} of {self._count} decisions are late")
        until(self._sent.exists, f"{self._name}: the producer's report", _FLUSH_SECONDS)
        processes = (*timed, runner, *around)
        for process in processes:
            process.ask_to_end()
        for process in processes:
            process.stop()
        return self._measured(live.close(self._count), loop)

    def _send_history(
        self, live: reader.Reader, producer: Contender, around: list[Contender]
    ) -> int:
        """Send what comes before the schedule; return its records when all processes have them."""
        producer.go()
        sent = f"{self._name}: the history is sent"
        until(lambda: send.HISTORY_SENT in producer.said, sent, _HISTORY_SECONDS, producer)
        count = Traffic.read(self._turns.traffic, self._count).history
        if not live.read(len(count), time.time() + _HISTORY_SECONDS):
            raise TooSlowError(f"{self._name}: {live.count} of {len(count)} of the history in time")
        for profiler in around[1:]:
            topics = profiler.entry.settings.kafka.topics
            group = profiler.entry.settings.profiler.group
            until(
                lambda: self._arena.committed(group, topics.transactions) >= len(count),  # noqa: B023 used within the turn
                f"{self._name}: the history is profiled", _HISTORY_SECONDS, profiler, glance=0.1,
            )  # fmt: skip
        return len(count)

    def _command(self) -> tuple[str, ...]:
        run = ("run", "--from", "earliest", "--model", MODEL)
        if self._way == OURS:
            return ("module", trace.__name__, str(self._trace), *run)
        if self._way == BEFORE:
            return run
        if self._way == TODAYS:
            return ("floor",)
        return ("module", bare.__name__, str(self._trace), str(self._arena.partitions))

    def _entry(self, role: str, *command: str) -> Entry:
        name = f"{self._name}-{role}" if role else self._name
        # A profiler's ``kafka.group`` is the scorers' group; the others' is their own.
        group = self._name if role == "profiler" else name
        return self._arena.entry(
            name, self._source, *command, outputs=self._name, kafka={"group": group},
            profiler={"group": name},
        )  # fmt: skip

    def _create(self, entry: Entry) -> None:
        arena, topics = self._arena, entry.settings.kafka.topics
        names = (self._source, topics.labels, topics.terminal_profiles)
        arena.create(dict.fromkeys(names, arena.partitions), **_LOG_TIME)
        arena.create_outputs(entry)
        if self._way in {OURS, BEFORE, NEIGHBOURS}:
            # The profiler follows the rollout's topics, though nothing is in them.
            arena.create_rollout(entry)

    def _neighbours(self, root: Path) -> list[Contender]:
        first = ("--from", "earliest", "--model", MODEL)
        return [
            self._turns.process(self._entry("monitor", "monitor", *first), root),
            self._turns.process(self._entry("profiler", "profile", *first), root),
        ]

    def _timed(self) -> list[Entry]:
        """Return the processes that start together: the copy of the summaries, the producer."""
        command = (
            "module", send.__name__, str(self._turns.traffic), str(self._sent), str(self._rate),
            str(self._count),
        )  # fmt: skip
        entries = [self._entry("producer", *command)]
        if self._way == NEIGHBOURS:
            recording = self._turns.recordings[self._rate]
            entries.insert(
                0, self._entry("summaries", "module", summaries.__name__, str(recording))
            )
        return entries

    def _wait_running(self, runner: Contender, around: list[Contender]) -> None:
        """Return when the loop and the monitor have joined.

        The profiler commits nothing before its first record.
        """
        if self._way in {BARE, NEIGHBOURS}:
            until(lambda: bare.RUNNING in runner.said, f"{self._name} runs", _START_SECONDS, runner)
        elif self._way != TODAYS:
            self._arena.wait_committed(runner, 0, _START_SECONDS)
        for process in around[:1]:
            self._arena.wait_committed(process, 0, _START_SECONDS)
        # Today's bare loop joins within the warm-up.

    def _measured(self, seen: Float64, loop: Entry) -> Turn:
        sent = send.read_sent(self._sent)
        if self._way == OURS:
            recording = self._arena.directory / f"{self._rate}.summaries"
            topic = loop.settings.kafka.topics.summaries
            summaries.write(
                recording, summaries.recorded(self._arena.outputs(topic), float(sent.due[0]))
            )
            self._turns.recordings[self._rate] = recording
        chosen = stages.counted(sent.due, self._turns.warm_up)
        noted = (sent.acknowledged - sent.due)[chosen] * 1_000
        measured = Turn(
            (seen - sent.due)[chosen] * 1_000, stages.slip_ms(sent)[chosen],
            noted[np.isfinite(noted)],
        )  # fmt: skip
        if self._way not in {OURS, BARE, NEIGHBOURS}:
            return measured
        batches = stages.read_batches(self._trace)
        logged = reader.logged(self._arena, self._source, self._count)
        found = stages.stages_ms(sent, logged, seen, batches)
        start = float(sent.due[0]) + self._turns.warm_up
        return replace(
            measured,
            stages=stages.table_of(found, chosen),
            batches=stages.batches_of(batches, start),
        )
