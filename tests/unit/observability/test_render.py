import importlib
import io
import json
import pkgutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream_scorer import telemetry as events
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.render import Renderer
from stream_scorer.telemetry import kafka_loop

MODEL = {"model": "m", "version": "1"}
LAG = events.LagObserved({0: 9}, {0: 4}, {0: 1.5}, group="g", topic="t")
LAG_LABELS = {"group": "g", "topic": "t", "partition": "0"}
DETECTOR = {"detector": "ADWIN", "signal": "score"}
STAGES = ("poll", "decode", "validate", "features", "score", "decide", "encode", "commit")


class Bench:
    """A renderer with its registry, its log, and a clock that a test sets."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stream = io.StringIO()
        self.now = 0.0
        self.render = Renderer(
            self.registry, process_logger("scorer", stream=self.stream), lambda: self.now
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"stream_scorer_{name}", labels)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def batch(rows: int) -> events.BatchCommitted:
    return events.BatchCommitted(
        records=rows + 1,
        outcomes={"APPROVE": rows - 1, "BLOCK": 1},
        model="fraud",
        version="1.0.0",
        rejected={"EMPTY": 1},
        flagged={"late": 2},
        stage_seconds=dict.fromkeys(STAGES, 0.001),
        age_seconds=np.full(rows, 0.1),
        next_offsets={0: 100, 3: 7},
    )


def test_a_committed_batch_is_counted_and_logs_nothing(bench: Bench) -> None:
    bench.render(batch(10))
    bench.render(batch(10))
    assert bench.value("transactions_total", result="committed") == 2
    assert bench.value("transactions_total", result="settled_aborted") == 0
    assert bench.value("decisions_total", outcome="APPROVE", model="fraud", version="1.0.0") == 18
    assert bench.value("rejected_total", reason="EMPTY") == 2
    assert bench.value("flagged_total", flag="late") == 4
    assert bench.value("age_seconds_bucket", le="0.1") == 20
    assert bench.value("age_seconds_bucket", le="0.075") == 0
    assert bench.value("batch_records_sum") == 22
    assert bench.value("stage_seconds_count", stage="score") == 2
    assert bench.value("next_offset", partition="3") == 7
    assert bench.lines == []


def test_each_reject_reason_has_a_series_from_the_start_on(bench: Bench) -> None:
    # The alert on dead letters would not see the first ones of a series that is new.
    bench.render(batch(10))
    assert set(kafka_loop.REJECT_REASONS) == set(RejectReason)
    found = {each: bench.value("rejected_total", reason=each) for each in RejectReason}
    assert found == dict.fromkeys(RejectReason, 0.0) | {RejectReason.EMPTY: 1.0}


def test_a_batch_without_decisions_counts_no_age(bench: Bench) -> None:
    bench.render(events.BatchCommitted(records=0, outcomes={}, model="fraud", version="1"))
    assert bench.value("age_seconds_count") == 0


@pytest.mark.parametrize(
    ("event", "name", "labels", "expected"),
    [
        (events.CommitSettled(True), "transactions_total", {"result": "settled_committed"}, 1),
        (events.CommitSettled(False), "transactions_total", {"result": "settled_aborted"}, 1),
        (events.BatchAborted("x", 3), "transactions_total", {"result": "aborted"}, 1),
        (events.ProducerReborn("x"), "producer_rebirths_total", {}, 1),
        (events.RecordQuarantined("t", 1, 2, "x"), "records_quarantined_total",
         {"where": "batch"}, 1),
        (events.ReplayLeftOut(1, 2, "x"), "records_quarantined_total", {"where": "replay"}, 1),
        (events.ComputationHung(301.0, "x"), "computation_hung_seconds", {}, 301),
        (events.ComputationOver(), "computation_hung_seconds", {}, 0),
        (events.ReplayProgress(2, 10, 35), "replay_remaining_records", {"partition": "2"}, 25),
        (events.ReplayProgress(2, 35, 35), "replay_remaining_records", {"partition": "2"}, 0),
        (events.StateIncomplete(1, 5), "state_incomplete", {"partition": "1"}, 1),
        (events.ColdAccepted(1, ("a", "b"), 5), "cold_features", {"partition": "1"}, 2),
        (events.StateRestored(1, 9, 5, 25), "restore_replayed_records", {"partition": "1"}, 20),
        (events.CheckpointWritten(3, 70, {1: 9}, {}), "checkpoint_buckets_total", {}, 3),
        (events.CheckpointWritten(3, 70, {1: 9}, {}), "checkpoint_bytes_total", {}, 70),
        (events.CheckpointWritten(3, 70, {1: 9}, {}), "checkpoint_age_records",
         {"partition": "1"}, 9),
        (events.CheckpointWritten(3, 7, {}, {1: 2}), "checkpoint_cycle_seconds",
         {"partition": "1"}, 2),
        (events.CheckpointFailed("x"), "checkpoint_failures_total", {}, 1),
        (events.DependencyUnavailable("registry", "x"), "dependency_up",
         {"dependency": "registry"}, 0),
        (events.DependencyBack("registry"), "dependency_up", {"dependency": "registry"}, 1),
        (LAG, "lag_records", LAG_LABELS, 9),
        (LAG, "lag_stable_records", LAG_LABELS, 4),
        (LAG, "lag_seconds", LAG_LABELS, 1.5),
        (events.Stuck(31.0, (2,)), "stuck_seconds", {}, 31),
        (events.KeyMisplaced(100, 3), "keys_misplaced_total", {}, 3),
        (events.KeyOfAnother(100, 3), "keys_of_another_total", {}, 3),
        (events.ModelFailed("m", "1", 4, "x"), "model_error_rows_total", MODEL, 4),
        (events.ModelVerified("m", "1", "time", "x"), "model_refused", MODEL, 1),
        (events.ModelVerified("m", "1", "start"), "model_refused", MODEL, 0),
        (events.ModelVerified("m", "1", "signal", "x"), "model_verifications_total",
         {"cause": "signal", "result": "refused"}, 1),
        (events.ModelVerified("m", "1", "start"), "model_verifications_total",
         {"cause": "start", "result": "whole"}, 1),
        (events.DriftDetected("ADWIN", "score"), "drift_events_total", DETECTOR, 1),
        (events.RolloutEvidence(7, 5, 2, 3, 4), "rollout_decisions_waiting", {}, 7),
        (events.RolloutEvidence(7, 5, 2, 3, 4), "rollout_labels_waiting", {}, 5),
        (events.RolloutEvidence(7, 5, 2, 3, 4), "rollout_rows_left_out_total", {}, 2),
        (events.RolloutEvidence(7, 5, 2, 3, 4), "rollout_labels_late_total", {}, 3),
        (events.RolloutEvidence(7, 5, 2, 3, 4), "rollout_records_unreadable_total", {}, 4),
        (events.RolloutJudged("fast", "canary", "NO_DATA", 3), "rollout_looks_total",
         {"guard": "fast", "way": "canary", "verdict": "NO_DATA"}, 1),
        (events.RolloutMoved("step", False, "x"), "rollout_moves_total",
         {"kind": "step", "how": "done"}, 1),
        (events.RolloutMoved("step", True, "x"), "rollout_moves_total",
         {"kind": "step", "how": "proposed"}, 1),
        (events.RecordsSkipped("rollout", 3, 0, 7, "x"), "own_records_skipped_total",
         {"topic": "rollout"}, 3),
        (events.RolloutHeld("step", "x"), "rollout_commands_refused_total", {"kind": "step"}, 1),
        (events.PartitionsAssigned((0, 1)), "partitions_assigned", {}, 2),
        (events.PartitionsRevoked((0, 1), lost=True), "partitions_lost_total", {}, 2),
        (events.PartitionsAssigned((0, 1)), "rebalances_total", {}, 1),
        (events.PartitionsRevoked((0,)), "rebalances_total", {}, 1),
        (events.StandingBy(True), "standing_by", {}, 1),
        (events.StandingBy(False), "standing_by", {}, 0),
    ],
)  # fmt: skip
def test_each_event_moves_its_metric(
    bench: Bench, event: events.Event, name: str, labels: dict[str, str], expected: float
) -> None:
    bench.render(event)
    assert bench.value(name, **labels) == expected


def test_a_complete_history_resets_the_metric_and_logs_no_line(bench: Bench) -> None:
    bench.render(events.StateIncomplete(1, 5))
    bench.render(events.StateComplete(1))
    assert bench.value("state_incomplete", partition="1") == 0
    assert len(bench.lines) == 1


def test_every_event_is_rendered() -> None:
    every = {
        kind
        for module in pkgutil.iter_modules(events.__path__, f"{events.__name__}.")
        for kind in vars(importlib.import_module(module.name)).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    }
    assert len(every) > 40
    # The supervisor's events are rendered by its fleet, see test_fleet.
    others = (*events.ACCESS_EVENTS, *events.LAG_EVENTS, *events.SCRAPED_EVENTS)
    assert {*events.EVENTS, *events.SUPERVISOR_EVENTS, *others} == every
    assert {kind for kind in every if "effects" not in vars(kind)} == set()


@pytest.mark.parametrize(
    ("event", "line", "level"),
    [
        (events.ProducerReborn("commit took 3 s"), "producer_reborn", "warning"),
        (events.StateIncomplete(1, 5), "state_incomplete", "warning"),
        (events.CheckpointFailed("refused"), "checkpoint_failed", "error"),
        (events.ColdAccepted(1, ("a",), 5), "cold_accepted", "warning"),
        (events.DependencyUnavailable("registry", "refused"), "dependency_unavailable", "error"),
        (events.Stuck(31.0, (2,)), "stuck", "error"),
        (events.KeyMisplaced(100, 3), "keys_misplaced", "warning"),
        (events.KeyOfAnother(100, 3), "keys_of_another", "warning"),
        (events.ModelFailed("fraud", "1", 4, "NaN"), "model_failed", "error"),
        (events.ModelVerified("m", "1", "time", "gone"), "model_refused", "error"),
        (events.DriftDetected("ADWIN", "score"), "drift_detected", "warning"),
        (events.RolloutEvidence(7, 5, 2), "rollout_rows_left_out", "warning"),
        (events.RolloutJudged("slow", "canary", "INVALID", 3), "rollout_holds", "warning"),
        (events.RolloutMoved("rollback", False, "alerts"), "rollout_moved", "warning"),
        (events.RecordsSkipped("rollout", 3, 0, 7, "not Avro"), "records_skipped", "warning"),
        (events.RolloutHeld("step", "another came first"), "rollout_command_refused", "error"),
        (events.PartitionsRevoked((0,), lost=True), "partitions_lost", "warning"),
    ],
)
def test_what_needs_a_person_is_logged_once_a_minute(
    bench: Bench, event: events.Event, line: str, level: str
) -> None:
    for _ in range(5):
        bench.render(event)
    assert [(each["event"], each["level"]) for each in bench.lines] == [(line, level)]


def test_a_repeated_condition_counts_the_lines_left_out(bench: Bench) -> None:
    for second in (0.0, 1.0, 2.0, 61.0):
        bench.now = second
        bench.render(events.Stuck(second, (2,)))
    assert [line.get("left_out") for line in bench.lines] == [None, 2]


@pytest.mark.parametrize(
    "event",
    [
        events.BatchAborted("rebalance", 3),
        events.ProducerReborn(events.ProducerReborn.ABORTED),
        events.CommitSettled(True),
        events.PartitionsAssigned((0,)),
        events.PartitionsRevoked((0,)),
        events.StandingBy(True),
        events.ReplayProgress(0, 1, 2),
        events.StateRestored(0, 1, 2, 3),
        events.CheckpointWritten(1, 2, {0: 3}, {0: 4.0}),
        events.DependencyBack("registry"),
        events.LagObserved({0: 1}, {0: 1}),
        events.KeyMisplaced(100, 0),
        events.KeyOfAnother(100, 0),
        events.RolloutEvidence(7, 5),
        events.RolloutJudged("fast", "canary", "CONTINUE", 3),
        events.Stopping("SIGTERM"),
    ],
)
def test_normal_operation_logs_nothing(bench: Bench, event: events.Event) -> None:
    bench.render(event)
    assert bench.lines == []


def test_aborts_are_logged_only_when_none_commits_between(bench: Bench) -> None:
    for _ in range(4):
        bench.render(events.BatchAborted("broker", 3))
        bench.render(events.BatchAborted("broker", 3))
        bench.render(batch(2))
    assert bench.lines == []
    for _ in range(3):
        bench.render(events.BatchAborted("broker", 3))
    assert [(line["event"], line["cause"]) for line in bench.lines] == [
        ("transactions_keep_aborting", "broker")
    ]


def test_an_outage_ends_with_a_line(bench: Bench) -> None:
    for event in (
        events.DependencyUnavailable("broker", "timed out"),
        events.DependencyBack("broker"),
    ):
        bench.render(event)
        bench.render(event)
    assert [line["event"] for line in bench.lines] == ["dependency_unavailable", "dependency_back"]


def test_each_requested_verification_is_logged(bench: Bench) -> None:
    for cause in ("start", "time"):
        bench.render(events.ModelVerified("m", "1", cause))
    assert bench.lines == []
    bench.render(events.ModelVerified("m", "1", "signal"))
    for _ in range(2):
        bench.render(events.ModelVerified("m", "1", "signal", "sha256 differs"))
    for cause in ("time", "time"):
        bench.render(events.ModelVerified("m", "1", cause))
    told = [(line["event"], line["cause"], line.get("detail")) for line in bench.lines]
    assert told == [
        ("model_verified", "signal", None),
        ("model_refused", "signal", "sha256 differs"),
        ("model_refused", "signal", "sha256 differs"),
        ("model_verified", "time", None),
    ]
    assert bench.value("model_refused", **MODEL) == 0


def test_only_movement_ends_being_stuck(bench: Bench) -> None:
    bench.render(events.Stuck(31.0, (2,)))
    bench.render(batch(2))
    assert bench.value("stuck_seconds") == 31
    bench.render(events.Moving())
    assert bench.value("stuck_seconds") == 0


def test_a_partition_that_left_is_shown_no_longer(bench: Bench) -> None:
    bench.render(events.PartitionsAssigned((0, 3)))
    bench.render(batch(2))
    bench.render(events.PartitionsRevoked((3,)))
    assert bench.value("partitions_assigned") == 1
    assert bench.value("next_offset", partition="0") == 100
    assert bench.value("next_offset", partition="3") is None
    bench.render(batch(2))
    assert bench.value("next_offset", partition="3") == 7


def test_a_partition_that_left_is_not_shown_as_warming(bench: Bench) -> None:
    for partition in (0, 3):
        bench.render(events.ModelWarming("fraud", "2.0.0", partition, ("count_7d",), 500))
    bench.render(events.PartitionsRevoked((3,)))
    for name, value in (("warming_features", 1), ("warming_until_event_time_seconds", 0.5)):
        assert bench.value(name, partition="0") == value
        assert bench.value(name, partition="3") is None


def test_an_assignment_ends_the_standby_metric(bench: Bench) -> None:
    bench.render(events.StandingBy(True))
    bench.render(events.PartitionsAssigned((0,)))
    assert bench.value("standing_by") == 0


def test_lag_that_is_no_longer_known_is_shown_no_longer(bench: Bench) -> None:
    bench.render(events.LagObserved({0: 9, 1: 8}, {0: 4, 1: 8}, {0: 1.5, 1: 2.5}))
    bench.render(events.LagObserved({1: 7}, {1: 7}))
    assert bench.value("lag_records", group="", topic="", partition="0") is None
    assert bench.value("lag_records", group="", topic="", partition="1") == 7
    bench.render(events.LagObserved({}, {}))
    assert bench.value("lag_records", group="", topic="", partition="1") is None
    assert bench.value("lag_stable_records", group="", topic="", partition="1") is None
    assert bench.value("lag_seconds", group="", topic="", partition="1") is None


def median_seconds(call: Callable[[], None], runs: int = 200) -> float:
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[runs // 2]


# Measured on an idle core: 97 µs and 21 µs. The limits are five times the budgets of 200 and
# 40 µs, so that a busy machine passes and counting one by one (5,000 µs) does not.
@pytest.mark.parametrize(("rows", "limit"), [(5_000, 0.001), (20, 0.0002)])
def test_a_batch_is_rendered_within_its_budget(bench: Bench, rows: int, limit: float) -> None:
    event = batch(rows)
    assert median_seconds(lambda: bench.render(event)) < limit
