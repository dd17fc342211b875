"""The loop and the probes of the lag process."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stream_scorer.lag.watch import process
from stream_scorer.lag.watch.passes import LagSnapshot
from stream_scorer.lag.watch.process import LagHealth, LagLoop, serve_lag, start_reconciliation
from stream_scorer.settings import Http, Kafka, Lag, Logging, Settings
from stream_scorer.telemetry import Event, RecordsReconciled
from stream_scorer.telemetry.event import History


def test_it_is_ready_while_the_brokers_answer() -> None:
    now = LagSnapshot()
    health = LagHealth(10.0, lambda: now)
    assert health.reasons() == ["no pass has ended yet"]
    now = LagSnapshot(time=5.0)
    assert health.reasons() == []
    now = LagSnapshot(time=6.0, error="broker b:1: timed out")
    assert health.reasons() == ["the brokers do not answer: broker b:1: timed out"]
    assert health.live
    assert health.degraded() == []
    now = LagSnapshot(time=7.0, left_out=1_234)
    assert health.reasons() == []
    assert health.degraded() == ["groups that match lag.groups are not watched: 1,234"]


def test_it_is_not_live_without_passes() -> None:
    health = LagHealth(-20.0, LagSnapshot)
    time.sleep(0.001)
    assert not health.live


def test_a_loop_ends_when_it_is_asked_to() -> None:
    # No broker is there: each pass reports that.
    settings = Settings(
        kafka=Kafka(bootstrap="127.0.0.1:1"), lag=Lag(interval_seconds=2.0, request_seconds=0.5)
    )
    seen: list[LagSnapshot] = []
    with LagLoop(settings) as loop:
        loop.run(seen.append, lambda: len(seen) >= 2, 0.01)
        loop.stopped.set()
        loop.run(seen.append)
    assert len(seen) == 2
    assert all("127.0.0.1:1" in each.error for each in seen)
    # Their times are those of the answers, which may come late.
    assert seen[1].time - seen[0].time >= 1.2


def test_passes_begin_at_even_times(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(kafka=Kafka(bootstrap="127.0.0.1:1"), lag=Lag(interval_seconds=1.0))
    began: list[float] = []

    def slow() -> LagSnapshot:
        began.append(time.monotonic())
        time.sleep(0.5)
        return LagSnapshot()

    with LagLoop(settings) as loop:
        monkeypatch.setattr(loop.passes, "run", slow)
        loop.run(lambda _: None, lambda: len(began) >= 4, 0.01)
    assert min(after - before for before, after in pairwise(began)) < 1.4


def test_the_journal_has_the_start_and_a_look_that_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def one_look(_: LagLoop, after: Callable[[LagSnapshot], None]) -> None:
        after(LagSnapshot(time=5.0, error="broker b:1: timed out"))

    monkeypatch.setattr(LagLoop, "run", one_look)
    settings = Settings(
        kafka=Kafka(bootstrap="127.0.0.1:1"),
        lag=Lag(request_seconds=0.5, reconcile_seconds=0),
        http=Http(port=0),
        logging=Logging(journal=tmp_path / "journal.jsonl"),
    )
    serve_lag(settings)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "began"
    failed = [line for line in lines if line["event"] == "lag_not_observed"]
    assert ("look", "broker b:1: timed out") in [(each["what"], each["detail"]) for each in failed]


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_without_an_objective_nothing_is_counted(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cluster without scorers has no input topic: its absence would page for ever.
    shown: list[str] = []

    def one_look(_: LagLoop, after: Callable[[LagSnapshot], None]) -> None:
        after(LagSnapshot(time=5.0))
        shown.extend(generate_latest(registries[0]).decode().splitlines())

    registries: list[CollectorRegistry] = []

    def registry() -> CollectorRegistry:
        registries.append(CollectorRegistry())
        return registries[-1]

    monkeypatch.setattr(LagLoop, "run", one_look)
    monkeypatch.setattr(process, "CollectorRegistry", registry)
    settings = Settings(
        kafka=Kafka(bootstrap="127.0.0.1:1"),
        lag=Lag(request_seconds=0.5, reconcile_seconds=0, slo_seconds=seconds),
        http=Http(port=0),
    )
    serve_lag(settings)
    counted = any(line.startswith("stream_scorer_slo_time_seconds{") for line in shown)
    assert counted == bool(seconds)


def test_a_comparison_that_never_succeeds_has_a_time() -> None:
    # An alert on its age needs it: no series has no age.
    settings = Settings(
        kafka=Kafka(bootstrap="127.0.0.1:1", group="g"), lag=Lag(request_seconds=0.5)
    )
    heard: list[Event] = []
    with ExitStack() as stack:
        start_reconciliation(settings, heard.append, stack)
    first = heard[0]
    assert isinstance(first, RecordsReconciled)
    assert first.time is not None
    assert abs(first.time - time.time()) < 60
    assert list(first.effects(History())) == [
        (RecordsReconciled.TIME, first.time, "g", settings.kafka.topics.transactions)
    ]
