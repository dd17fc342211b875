"""Metrics, health and log lines of the parent of several workers."""

import io
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from stream_scorer import telemetry as events
from stream_scorer.observability.fleet import Fleet, WorkerReport
from stream_scorer.observability.health import Health
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.render import Renderer


class Worker:
    """A worker's metrics and health, and its report as the parent receives it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.health = Health(30.0, clock)
        self.render = Renderer(self.registry, process_logger("scorer", stream=io.StringIO()))
        self.health.model_loaded()
        self.tell(events.PartitionsAssigned(()))

    def tell(self, event: events.Event) -> None:
        self.render(event)
        self.health(event)

    @property
    def report(self) -> WorkerReport:
        report = WorkerReport(
            self.health.live,
            self.health.silent_seconds,
            tuple(self.health.reasons()),
            tuple(self.health.degraded()),
            tuple(self.registry.collect()),
        )
        sent: WorkerReport = pickle.loads(pickle.dumps(report))  # noqa: S301 as the pipe does
        return sent


class Scene:
    """A fleet of two workers, its registry, its log, and a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log = io.StringIO()
        self.fleet = Fleet(2, process_logger("supervisor", stream=self.log), lambda: self.now)
        self.registry = CollectorRegistry()
        self.registry.register(self.fleet)
        self.workers = [Worker(lambda: self.now) for _ in range(2)]

    def start(self, worker: int, pid: int) -> None:
        self.fleet(events.WorkerStarted(worker, pid))
        self.hear(worker, pid)

    def hear(self, worker: int, pid: int) -> None:
        self.fleet.reported(worker, pid, self.workers[worker].report)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"stream_scorer_{name}", labels)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def running(scene: Scene) -> Scene:
    scene.start(0, 100)
    scene.start(1, 101)
    assert scene.fleet.reasons() == []
    return scene


def test_it_is_ready_when_every_worker_is(scene: Scene) -> None:
    assert scene.fleet.reasons() == ["worker 0: is not started yet", "worker 1: is not started yet"]
    scene.start(0, 100)
    scene.fleet(events.WorkerStarted(1, 101))
    assert scene.fleet.reasons() == ["worker 1: has not reported yet"]
    assert scene.value("ready", worker="0") == 1
    assert scene.value("ready", worker="1") == 0
    scene.hear(1, 101)
    assert scene.fleet.reasons() == []
    assert scene.value("ready", worker="1") == 1


def test_a_workers_reports_have_its_number(running: Scene) -> None:
    running.workers[1].tell(events.Stuck(31.0, (3,)))
    running.workers[0].tell(events.KeyMisplaced(10, 2))
    running.hear(0, 100)
    running.hear(1, 101)
    assert running.fleet.reasons() == [
        "worker 1: stuck: position has not moved for 31 s despite lag: partition 3"
    ]
    assert running.fleet.degraded() == [
        "worker 0: 2 of 10 sampled keys do not belong to their partition"
    ]
    assert running.value("stuck_seconds", worker="1") == 31
    assert running.value("stuck_seconds", worker="0") == 0


def test_a_worker_that_left_is_reported_counted_and_not_ready(running: Scene) -> None:
    running.fleet(events.WorkerLeft(1, "SIGKILL", 0.5))
    assert running.fleet.reasons() == ["worker 1: left (SIGKILL)"]
    assert running.fleet.live
    assert running.value("worker_up", worker="0") == 1
    assert running.value("worker_up", worker="1") == 0
    assert running.value("worker_exits_total", worker="1", cause="SIGKILL") == 1
    # Its old values are no longer shown.
    assert running.value("partitions_assigned", worker="1") is None
    (line,) = running.lines
    assert line["event"] == "worker_left"
    assert (line["worker"], line["cause"], line["again_in_seconds"]) == (1, "SIGKILL", 0.5)


def test_a_late_report_of_the_one_before_is_not_its_successors(running: Scene) -> None:
    running.fleet(events.WorkerLeft(1, "SIGKILL", 0.5))
    running.fleet(events.WorkerStarted(1, 202))
    running.hear(1, 101)
    assert running.fleet.reasons() == ["worker 1: has not reported yet"]
    running.hear(1, 202)
    assert running.fleet.reasons() == []


def test_a_silent_worker_is_first_not_ready_and_then_not_live(running: Scene) -> None:
    running.now = 12.0
    running.workers[0].health.heartbeat()
    running.hear(0, 100)
    assert running.fleet.reasons() == ["worker 1: has reported nothing for 12 s"]
    assert running.fleet.live
    running.now = 31.0
    running.workers[0].health.heartbeat()
    running.hear(0, 100)
    assert not running.fleet.live
    assert running.fleet.silent_seconds == 31.0


def test_a_reporting_worker_with_a_stuck_loop_is_not_live(running: Scene) -> None:
    running.now = 29.0
    running.hear(0, 100)
    running.hear(1, 101)
    assert running.fleet.live
    running.now = 31.0
    assert not running.fleet.live


def test_a_worker_that_never_reports_does_not_stay_live(scene: Scene) -> None:
    scene.fleet(events.WorkerStarted(0, 100))
    assert scene.fleet.live
    scene.now = 31.0
    assert not scene.fleet.live


def test_a_signal_makes_it_unready(running: Scene) -> None:
    running.fleet(events.Stopping("SIGTERM"))
    assert running.fleet.reasons() == ["stopping: SIGTERM"]


def test_metrics_of_all_workers_are_families_with_their_number(running: Scene) -> None:
    for number, rows in ((0, 3), (1, 5)):
        running.workers[number].tell(
            events.BatchCommitted(
                rows, {"APPROVE": rows}, "fraud", "1.0.0", age_seconds=np.full(rows, 0.1)
            )
        )
        running.hear(number, 100 + number)
    deciding = {"outcome": "APPROVE", "model": "fraud", "version": "1.0.0"}
    assert running.value("decisions_total", worker="0", **deciding) == 3
    assert running.value("decisions_total", worker="1", **deciding) == 5
    assert running.value("age_seconds_bucket", worker="1", le="0.1") == 5
    # The strict format allows a family only once, with all its samples together.
    text = openmetrics(running.registry).decode()  # type: ignore[no-untyped-call]
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert {"stream_scorer_decisions", "stream_scorer_worker_exits"} <= set(names)


def test_the_groups_lag_is_shown_once(running: Scene) -> None:
    for number, records in ((0, 7), (1, 4)):
        running.now += 1
        running.workers[number].tell(events.LagObserved({0: records}, {0: records}, {0: 1.5}))
        running.hear(number, 100 + number)
    # The values are those of the worker that reported last.
    assert running.value("lag_records", group="", topic="", partition="0") == 4
    assert running.value("lag_seconds", group="", topic="", partition="0") == 1.5
    assert running.value("lag_records", group="", topic="", partition="0", worker="0") is None


def test_a_worker_that_was_ready_and_makes_no_progress_is_silent(running: Scene) -> None:
    running.now = 20.0
    running.workers[0].health.heartbeat()
    running.hear(0, 100)
    running.hear(1, 101)
    running.now = 31.0
    # First by its own report, and then without any report.
    assert running.fleet.silent() == [1]
    running.hear(1, 101)
    assert running.fleet.silent() == [1]
    running.now = 60.0
    assert running.fleet.silent() == [0, 1]
    running.fleet(events.WorkerLeft(1, "silent", 0.5))
    assert running.fleet.silent() == [0]


def test_a_worker_hanging_in_a_batch_is_silent_though_it_reports(running: Scene) -> None:
    for number in (0, 1):
        running.workers[number].health.heartbeat()
    running.workers[1].health(events.ComputationHung(301.0, "a.py:1 f"))
    for number in (0, 1):
        running.hear(number, 100 + number)
    assert running.fleet.silent() == [1]
    assert not running.fleet.live


def test_a_worker_that_was_never_ready_is_loading_not_silent(scene: Scene) -> None:
    scene.start(0, 100)
    scene.fleet(events.WorkerStarted(1, 101))
    scene.now = 40.0
    assert scene.fleet.silent() == [0]
    assert not scene.fleet.live
