"""The demo: a real Kafka, all our processes, a burst, a paced phase, and a verdict from outside.

::

    start Kafka, registry, topics, then profiler and monitor
      ├─ burst: a backlog and its labels are sent while the scorer starts, which drains it at full
      │         speed, the profiler ahead of it
      ├─ paced: records at a steady rate; each is timed from its schedule to an own reader
      └─ verdict: that reader, read-committed, compares outputs with input by source coordinates

Terminal profile rows are due days after their transactions, so they are usually published long
before a scorer needs them. The burst, however, sends simulated weeks in seconds, and the profiler
is only seconds ahead. If rows are late, the scorer waits; a decision without them fails the demo.

No result comes from the scorer's own counters.
"""

import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.demo.found import found as found_drift
from stream_scorer.demo.input import Malformed, Spoiler, traffic
from stream_scorer.demo.made_model import made_model
from stream_scorer.demo.precision import precisions
from stream_scorer.demo.processes import MODEL, DemoProcess
from stream_scorer.demo.report import DemoReport
from stream_scorer.demo.verifier import Verifier
from stream_scorer.demo.verifier_thread import VerifierThread
from stream_scorer.devkafka import DevKafka
from stream_scorer.drift.reports.page import write_page
from stream_scorer.errors import StreamScorerError, UnavailableError
from stream_scorer.kafka.reading.paced_producer import Feed
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.processes.signals import handled
from stream_scorer.producing.labels import LabelledSender
from stream_scorer.producing.transactions import TransactionEncoder, open_feed
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import Settings, Topics

PAGE = Path(".dev") / "demo-report.html"
_RATE = 5_000.0
_LABEL_DELAY_MS = 5 * 86_400_000
"""Delay of labels: known one day before their terminal profile rows are final."""
_PACED_SLICE = 250
_READY_SECONDS = 300.0
"""A process compiles its kernels at its very first start."""
_STALLED_SECONDS = 120.0
"""How long the scorer or the monitor may make no progress before the demo fails, seconds."""
_LOOK_SECONDS = 1.0
_STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent.

    Attributes:
        days: Simulated days, about 9,600 transactions each.
        paced_seconds: Duration of the paced phase.
        least_precision: Minimum average precision. Each run reaches the same: 0.547, and 0.294 in
            the quick one. This is less than in the model's card, because customers and terminals
            have no history at first. Without any labels it would be 0.359, and 0.285 in the quick
            one. The LightGBM model reaches 0.593, and 0.345 in the quick one; without any labels
            0.366.
    """

    days: int = 26
    paced_seconds: float = 8.0
    least_precision: float = 0.5


QUICK = Size(days=8, paced_seconds=3.0, least_precision=0.25)


class Display(Protocol):
    """Shows the demo's progress."""

    def phase(self, name: str, total: int) -> None:
        """Begin a phase of ``total`` steps; 0 is unknown."""
        ...

    def advance(self, done: int) -> None:
        """Show how many steps of the phase are done."""
        ...


class Demo:
    """Runs the demo once.

    Args:
        settings: If ``kafka.bootstrap`` has an address, that cluster is used, with separate topics;
            otherwise a Kafka is started for the demo alone.
        size: How much is sent.
        display: Shows the progress.
        config: The settings' file, for the processes that are started.
        own_model: Whether a LightGBM model is trained and imported first, and decides.
        page: File for the monitor's report.
    """

    def __init__(
        self,
        settings: Settings,
        size: Size,
        display: Display,
        config: Path | None = None,
        *,
        own_model: bool = False,
        page: Path = PAGE,
    ) -> None:
        self._given = settings
        self._config = config
        self._own_model = own_model
        self._page = page
        self._model = MODEL
        self._store: Path | None = None
        self._size = size
        self._display = display
        self._processes: list[DemoProcess] = []

    def run(self) -> DemoReport:
        """Start everything, send, read, compare, and end everything.

        Raises:
            StreamScorerError: Something could not be started, or failed.
        """
        began = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(_ended_by_sigterm())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
            self._store = folder / "models"
            self._model = made_model(self._store, self._display.phase, lightgbm=self._own_model)
            self._display.phase("Kafka, registry, topics", 0)
            settings = self._cluster(stack)
            create_topics(settings.kafka)
            self._display.phase("profiler and monitor", 0)
            for name in ("profile", "monitor"):
                self._start(name, settings, folder, stack)
            sent = traffic(self._size.days)
            encode = TransactionEncoder(settings.registry)
            source = open_registry(settings.registry)
            spoiler = Spoiler(encode, source, time.time_ns() // 1_000_000)
            verifier = Verifier(settings.kafka, settings.registry)
            stack.callback(verifier.close)
            rows = LabelledSender(
                settings.kafka, settings.registry, sent.rows, _LABEL_DELAY_MS, to_the_end=False
            )
            self._await_ready()
            self._start("run", settings, folder, stack)
            burst = self._backlog(settings, rows, spoiler)
            self._display.phase("scorer", 0)
            self._await_ready()
            with VerifierThread(verifier) as reader:
                speed = self._burst(settings, reader, burst)
                self._drain_monitor(settings)
                paced_from = self._paced(settings, rows, spoiler, reader)
            self._display.phase("verdict", 0)
            found = verifier.finish()
            self._drain_monitor(settings)
            drifts = self._drifts(settings)
            write_page(settings, self._page)
            arrivals = found.arrivals
            paced = arrivals.source_ms >= paced_from
            self._check()
            for process in self._processes:
                process.ask_to_leave()
            for process in self._processes:
                if code := process.left():
                    raise StreamScorerError(f"demo: the {process.name} left with exit code {code}")
        return DemoReport(
            found, dict(spoiler.sent), sent.change_ms, drifts,
            found_drift(drifts, sent.change_ms, sent.times), self._page, burst, speed,
            (arrivals.arrived_ms - arrivals.source_ms)[paced], *precisions(found.scores, sent),
            self._size.least_precision, time.monotonic() - began,
        )  # fmt: skip

    # -- what runs --------------------------------------------------------------------------

    def _start(self, name: str, settings: Settings, folder: Path, stack: ExitStack) -> None:
        process = DemoProcess(name, settings, folder, self._config, self._model, self._store)
        stack.callback(process.end)
        self._processes.append(process)

    def _cluster(self, stack: ExitStack) -> Settings:
        """Return settings of a cluster with topics and groups of the demo's own."""
        unique = uuid.uuid4().hex[:8]
        kafka = self._given.kafka
        registry = self._given.registry.model_copy(update={"url": ""})
        topics = Topics()
        if kafka.bootstrap:
            names = {name: f"demo-{unique}-{topic}" for name, topic in topics.model_dump().items()}
            topics = Topics(**names)
            bootstrap = kafka.bootstrap
        else:
            own = stack.enter_context(DevKafka(registry=True))
            bootstrap = own.bootstrap
            registry = registry.model_copy(update={"url": own.registry_url})
        kafka = kafka.model_copy(
            update={"bootstrap": bootstrap, "group": f"demo-{unique}", "topics": topics}
        )
        own_groups = {
            name: getattr(self._given, name).model_copy(update={"group": f"demo-{unique}-{name}"})
            for name in ("monitor", "profiler")
        }
        return self._given.model_copy(update={"kafka": kafka, "registry": registry, **own_groups})

    # -- phases -----------------------------------------------------------------------------

    def _paced_rows(self) -> int:
        return int(_RATE * self._size.paced_seconds)

    def _backlog(self, settings: Settings, rows: LabelledSender, spoiler: Spoiler) -> int:
        """Send all but what is paced later, bad records of every kind among it; return its size."""
        last = len(rows) - self._paced_rows()
        self._display.phase("a backlog and its labels", last)
        makers = list(spoiler.kinds())
        with open_feed(settings.kafka, settings.registry) as feed:
            for number, make in enumerate(makers, 1):
                rows.send(feed, number * last // len(makers) - rows.sent)
                _send_bad(feed, make(rows.last))
                self._display.advance(rows.sent)
        return feed.sent

    def _await_ready(self) -> None:
        """Wait until all started processes are ready."""
        until = time.monotonic() + _READY_SECONDS
        while waited := [process.name for process in self._processes if not process.ready()]:
            if time.monotonic() > until:
                raise UnavailableError(
                    f"demo: not ready after {_READY_SECONDS:.0f} s: {', '.join(waited)}",
                    "is the machine too busy?",
                )
            time.sleep(_STEP_SECONDS)

    def _check(self) -> None:
        """Raise if a process has ended."""
        for process in self._processes:
            process.check()

    def _burst(self, settings: Settings, reader: VerifierThread, total: int) -> float:
        """Let the backlog of ``total`` records be drained; return the rate of its outcomes."""
        self._display.phase("burst: the backlog, drained at full speed", total)
        self._wait_for(settings, reader, total)
        verifier = reader.verifier
        if verifier.first_seen is None or verifier.last_seen is None:
            return 0.0
        seconds = max(verifier.last_seen - verifier.first_seen, 1e-3)
        return (verifier.seen - verifier.first_count) / seconds

    def _paced(
        self, settings: Settings, rows: LabelledSender, spoiler: Spoiler, reader: VerifierThread
    ) -> int:
        """Send on a schedule; return its start, ms since the epoch."""
        makers = list(spoiler.kinds())
        slices = -(-(len(rows) - rows.sent) // _PACED_SLICE)
        every = max(slices // len(makers), 1)
        before = reader.verifier.seen
        self._display.phase(
            f"paced: {_RATE:,.0f} transactions a second", len(rows) - rows.sent + len(makers)
        )
        began = time.time_ns() // 1_000_000
        with open_feed(settings.kafka, settings.registry, rate=_RATE) as feed:
            for number in range(slices):
                rows.send(feed, _PACED_SLICE)
                if number % every == 0 and makers:
                    _send_bad(feed, makers.pop(0)(rows.last))
                self._display.advance(reader.verifier.seen - before)
        self._wait_for(settings, reader, before + feed.sent)
        return began

    def _wait_for(self, settings: Settings, reader: VerifierThread, total: int) -> None:
        """Wait until that many outcomes came, or the scorer has committed the complete input.

        In the second case the verdict counts what is missing.

        Raises:
            UnavailableError: There was no outcome for 120 s, and there is input left.
        """
        topics = settings.kafka.topics
        seen, heard = reader.verifier.seen, time.monotonic()
        looked = heard
        while seen < total:
            self._check()
            if reader.failure is not None:
                raise reader.failure
            time.sleep(_STEP_SECONDS)
            now = time.monotonic()
            if reader.verifier.seen > seen:
                heard = looked = now
            elif now - looked > _LOOK_SECONDS:
                lags = read_lag(settings.kafka, settings.kafka.group, topics.transactions)
                if not any(lag.to_high for lag in lags):
                    return
                looked = time.monotonic()
                if now - heard > _STALLED_SECONDS:
                    raise UnavailableError("demo: the scorer has stopped moving", "see its log")
            seen = reader.verifier.seen
            self._display.advance(seen)

    def _drain_monitor(self, settings: Settings) -> None:
        """Wait until the monitor has read all summaries."""
        until = time.monotonic() + _STALLED_SECONDS
        group, topic = settings.monitor.group, settings.kafka.topics.summaries
        # By age: the last summary's transaction marker is never delivered.
        while any(lag.seconds for lag in read_lag(settings.kafka, group, topic, seconds=True)):
            if time.monotonic() > until:
                raise UnavailableError("demo: the monitor lags behind", "see its log")
            time.sleep(_STEP_SECONDS)

    def _drifts(self, settings: Settings) -> list[dict[str, Any]]:
        reader = RecordReader(settings.registry, "drift-event.v3")
        return [
            reader.decode(message.value())
            for message in read_all(settings.kafka, settings.kafka.topics.drift_events)
        ]


def _send_bad(feed: Feed, bad: Malformed) -> None:
    feed.send_encoded([bad.key], [bad.value])


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise, so that every process and folder is cleaned up, as on Ctrl-C."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    with handled({signal.SIGTERM: leave}):
        yield
