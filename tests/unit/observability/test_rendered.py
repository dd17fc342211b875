"""The metrics and log lines of every event are those that were recorded.

Dashboards and alerts rely on names, types, labels, help texts, buckets, levels and fields. After an
intended change, run this file as a script. It records them again, and the review sees the
difference.
"""

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream_scorer import telemetry as events
from stream_scorer.observability.fleet import Fleet
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.render import Renderer

RECORDED = Path(__file__).with_name("rendered.json")

EXAMPLES = (
    events.GatewayObserved(12, 64, 1_000, 600_000),
    events.AdmissionRefused("limit", 7),
    events.AdmissionRefused("lag", 1),
    events.ProvisionalAnswered(2),
    events.ProvisionalSettled("REVIEW", "REVIEW"),
    events.ProvisionalSettled("REVIEW", "BLOCK"),
    events.WindowRebuilt(1_000, 2.5),
    events.WindowShortened(300),
    events.SpansDropped("queue", 3),
    events.ProcessBegan("scorer", "0.1.0", "stream-scorer", "0", "0123456789ab", "3.11", "2.16"),
    events.ModelVerified("fraud", "1.0.0", "start", content_hash="0f", signer="ci"),
    events.BatchCommitted(4, {"APPROVE": 2, "BLOCK": 1}, "fraud", "1.0.0"),
    events.BatchCommitted(
        7, {"APPROVE": 5}, "fraud", "1.0.0", rejected={"EMPTY": 2}, flagged={"late": 1},
        stage_seconds={"poll": 0.01, "score": 0.2}, age_seconds=np.array([0.1, 0.5, 9.0]),
        next_offsets={0: 100, 3: 7}, others=(events.DecidedBy({"REVIEW": 1}, "fraud", "2.0.0"),),
    ),
    events.BatchAborted("rebalance", 3),
    events.RecordQuarantined("transactions", 1, 20, "ValueError in rings.py:7"),
    events.BatchUnreadable("transactions", 1, 20, 150),
    events.ReplayLeftOut(1, 20, "ValueError in rings.py:7"),
    events.ComputationHung(301.26, "rings.py:161 fold"),
    events.ComputationOver(),
    events.ProducerReborn("commit took 3 s"),
    events.CommitSettled(committed=True),
    events.CommitSettled(committed=False),
    events.PartitionsAssigned((0, 3), fresh=(3,)),
    events.FirstOffsetsCommitted((3,)),
    events.PartitionsRevoked((0, 3)),
    events.PartitionsRevoked((0, 3), lost=True),
    events.StandingBy(spare=True),
    events.StandingBy(spare=False),
    events.ReplayProgress(2, 10, 35),
    events.ReplayProgress(2, 36, 35),
    events.StateIncomplete(1, 5),
    events.StateIncomplete(1, 5, ("input", "ring_cap")),
    events.StateComplete(1),
    events.StateRestored(1, 9, 5, 25),
    events.StateRestored(1, 9, 5, 25, 2.5),
    events.KernelsReady(4.5),
    events.ModelWarming("fraud", "2.0.0", 1, ("count_7d", "sum_7d"), 86_400_500),
    events.ModelWarming("fraud", "2.0.0", 1, (), 0),
    events.ColdAccepted(1, ("count_7d", "sum_7d"), 86_400_500),
    events.CheckpointWritten(3, 70, {1: 9, 2: 8}, {1: 2.5}),
    events.CheckpointFailed("broker refused"),
    events.DependencyUnavailable("registry", "refused"),
    events.DependencyBack("registry"),
    events.RequestServed("GET /v2", 200, 0.0012, "r-1", "shop", logged=False),
    events.RequestServed("GET /v2", 503, 0.2, "r-2", "", logged=True),
    events.RequestFailed("GET /v2", "r-3", "ValueError", "Traceback"),
    events.RequestsCut(2, 10.0),
    events.SpansDropped("queue", 5),
    events.LagObserved({0: 9, 1: 8}, {0: 4, 1: 8}, {0: 1.5, 1: 2.5}),
    events.Stuck(31.5, (2, 4)),
    events.Moving(),
    events.KeyMisplaced(100, 3),
    events.KeyMisplaced(100, 0),
    events.KeyOfAnother(100, 3),
    events.KeyOfAnother(100, 0),
    events.ModelFailed("fraud", "1.0.0", 4, "NaN"),
    events.ModelVerified("fraud", "1.0.0", "start"),
    events.VersionsExpected(("fraud:1.0.0",)),
    events.ModelVerified("fraud", "1.0.0", "signal"),
    events.ModelVerified("fraud", "1.0.0", "time", "sha256 differs"),
    events.ModelVerified("fraud", "1.0.0", "signal", "sha256 differs"),
    events.DriftDetected("ADWIN", "score"),
    events.DriftWatched(
        {"note": 3, "warn": 1, "page": 1},
        {"watched": 470, "learning": 8, "alarmed": 2, "no_reference": 1}, 5, 1, 7,
    ),
    events.DriftSnapshot(800_000),
    events.DriftStateMissing("no_snapshot", 12),
    events.DriftReferenceMissing("fraud", "2.0.0", "the bundle has no reference"),
    events.DriftCommandFolded("done", ""),
    events.DriftCommandFolded("refused", "is not signed"),
    events.DriftEventSent("sent", 3, ""),
    events.DriftEventSent("waiting", None, "status 503"),
    events.EdgeRowsJudged(5, {}, {}, 0),
    events.EdgeRowsJudged(5, {"signature": 2, "revoked": 1}, {("APPROVE", "BLOCK"): 3}, 1),
    events.EdgeUploaded("published", 1_000, 0.03, 2),
    events.EdgeUploaded("repeated", 3, None, 2),
    events.EdgeUploaded("gap", 10, None, 2),
    events.DeviceObserved("fraud:1.0.2", "0f" * 32, 7, 5_000, 3.5, 90_000, 60.0, ""),
    events.DeviceObserved("fraud:1.0.2", "0f" * 32, 7, 5_000, 3.5, 90_000, None, "no network"),
    events.DeviceUpdated("", "fraud:1.0.3"),
    events.DeviceUpdated("freeze", "expired metadata"),
    events.RowsSettled(5, 86_400_500, 2, 1, {"delivered_late": 3, "after_cutoff": 4}),
    events.RowsSettled(5, None, 2, 0, {}),
    events.RowsHeld(3.5),
    events.RolloutNotVisible(("rollout", "activations")),
    events.TerminalsRead(5, 86_400_500, 2),
    events.TerminalsRead(5, None),
    events.RecordsSkipped("rollout", 3, 0, 7, "not Avro"),
    events.RolloutEvidence(7, 5, 2, 3, 4),
    events.RolloutEvidence(7, 5),
    events.RolloutJudged("fast", "canary", "INVALID", 3),
    events.RolloutJudged("slow", "shadow", "INCONCLUSIVE", 3),
    events.RolloutJudged("slow", "shadow", "CONTINUE", 3),
    events.RolloutMoved("step", proposed=False, reason="no alert"),
    events.RolloutMoved("promotion", proposed=True, reason="better"),
    events.RolloutHeld("step", "another came first"),
    events.WorkerStarted(1, 4_711),
    events.WorkerLeft(1, "SIGKILL", 0.5),
    events.WorkerLeft(1, "exit 9", None),
    events.Stopping("SIGTERM"),
    events.PlanAwaited(),
    events.PlanAwaited(over=True),
    events.RevisionLoaded(2, {"champion": "fraud:1.0.0", "canary": "fraud:2.0.0"}),
    events.RevisionRefused(2, "no such bundle"),
    events.RevisionRefused(2, "lateness differs", 3),
    events.RevisionActivated(3, 100, 2),
    events.PerformanceFolded(7, 5),
    events.PerformanceFolded(7, 5, 1, 2, 3, 4),
    events.PerformanceMeasured(
        "day", {"average_precision": 0.5, "brier": float("nan")},
        {"fraud": 3, "genuine": 90, "unknown": 7},
    ),
    events.PerformanceMeasured("week", {"average_precision": 0.5}, {"fraud": 9}),
    events.PerformanceWarned("", {"guaranteed": 0.5, "gaussian": 1.5}),
    events.PerformanceWarned("powered", {"powered": 9.5}),
    events.PerformanceSent(3),
    events.RetrainHeld("", ()),
    events.RetrainHeld("loss", ("frauds: 5, needs 300 matured frauds",)),
    events.RetrainStepped(3, "fit", "loss", "it rose"),
    events.RetrainEnded(3, "done", "it rose"),
    events.RetrainEnded(4, "failed", "the challenger is not better"),
)  # fmt: skip
"""At least one of each event, and one of each way in which it is rendered."""

ABORTED = events.BatchAborted("broker", 3)
UNAVAILABLE = events.DependencyUnavailable("registry", "refused")
BACK = events.DependencyBack("registry")

SEQUENCES: dict[str, list[Any]] = {
    "aborts": [ABORTED, ABORTED, EXAMPLES[0], *[ABORTED] * 4],
    "outage": [BACK, UNAVAILABLE, UNAVAILABLE, BACK, BACK, UNAVAILABLE],
    "lag": [
        events.LagObserved({0: 9, 1: 8}, {0: 4, 1: 8}, {0: 1.5, 1: 2.5}),
        events.LagObserved({1: 7}, {1: 7}),
    ],
    "warm": [
        events.ModelWarming("fraud", "2.0.0", 1, ("count_7d",), 500),
        events.ModelWarming("fraud", "2.0.0", 1, (), 0),
        events.ModelWarming("fraud", "2.0.0", 2, (), 0),
    ],
    "releases": [
        events.DeviceObserved(f"fraud:1.0.{number}", "0f" * 32, 0, 0, 0.0, 0, None, "")
        for number in (2, 2, 3)
    ],
    "bundles": [
        *[events.ModelVerified("fraud", "1.0.0", "time", "gone")] * 2,
        events.ModelVerified("fraud", "2.0.0", "time", "gone"),
        *[events.ModelVerified("fraud", "1.0.0", "signal", "gone")] * 2,
        *[events.ModelVerified("fraud", "1.0.0", "time")] * 2,
    ],
    "versions": [
        events.ModelVerified("fraud", "1.0.0", "start", content_hash="0f", signer="ci"),
        events.VersionsExpected(("fraud:1.0.0",)),
        events.ModelVerified("fraud", "2.0.0", "start", content_hash="1e", signer="ci"),
        events.ModelVerified("fraud", "3.0.0", "start", content_hash="2d", signer="ci"),
        events.VersionsExpected(("fraud:2.0.0",)),
        events.ModelVerified("fraud", "3.0.0", "unload", content_hash="2d", signer="ci"),
    ],
    "partitions": [
        events.PartitionsAssigned((0, 1, 2, 3)), *EXAMPLES, events.PartitionsAssigned((1, 2)),
        events.PartitionsRevoked((1, 2, 3)),
    ],
    "conditions": [each for each in EXAMPLES for _ in range(2)],
}  # fmt: skip
"""Events whose rendering depends on earlier ones; they come 20 seconds apart."""


class Process:
    """A renderer and a fleet, with their metrics and log lines."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._now = 0.0
        self._registry = CollectorRegistry()
        ready_gauge(self._registry)
        logger = process_logger("scorer", stream=self._stream)
        self._renderer = Renderer(self._registry, logger, lambda: self._now)
        self._workers = CollectorRegistry()
        fleet = self._fleet = Fleet(2, logger, lambda: self._now)
        self._workers.register(fleet)

    def tell(self, event: Any) -> None:
        listener: Callable[[Any], None] = (
            self._fleet if isinstance(event, events.SUPERVISOR_EVENTS) else self._renderer
        )
        listener(event)
        self._now += 20.0

    @property
    def families(self) -> list[str]:
        return sorted(
            f"{family.name} {family.type} {family.unit!r} {family.documentation}"
            for registry in (self._registry, self._workers)
            for family in registry.collect()
        )

    @property
    def samples(self) -> dict[str, float]:
        return {
            sample.name + json.dumps(dict(sorted(sample.labels.items()))): sample.value
            for registry in (self._registry, self._workers)
            for family in registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    @property
    def lines(self) -> list[str]:
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        for line in lines:
            del line["timestamp"]
        return [json.dumps(line) for line in lines]


def rendered(sequence: Iterable[Any]) -> dict[str, Any]:
    """Return the samples that a sequence of events changes, and the lines that it logs."""
    process = Process()
    before = process.samples
    for event in sequence:
        process.tell(event)
    after = process.samples
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    gone = dict.fromkeys(before.keys() - after.keys())
    return {"samples": dict(sorted((changed | gone).items())), "lines": process.lines}


def everything() -> dict[str, Any]:
    start = Process()
    return {
        "families": start.families,
        "start": dict(sorted(start.samples.items())),
        "events": {repr(event): rendered([event]) for event in EXAMPLES},
        "sequences": {name: rendered(sequence) for name, sequence in SEQUENCES.items()},
    }


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(RECORDED.read_text())
    return contents


def test_every_event_has_an_example() -> None:
    assert {type(event) for event in EXAMPLES} == {*events.EVENTS, *events.SUPERVISOR_EVENTS}


def test_the_metrics_of_a_process_are_those_recorded(recorded: dict[str, Any]) -> None:
    start = Process()
    assert start.families == recorded["families"]
    assert start.samples == recorded["start"]


@pytest.mark.parametrize("event", EXAMPLES, ids=repr)
def test_an_event_is_rendered_as_recorded(event: Any, recorded: dict[str, Any]) -> None:
    assert rendered([event]) == recorded["events"][repr(event)]


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_is_rendered_as_recorded(name: str, recorded: dict[str, Any]) -> None:
    assert rendered(SEQUENCES[name]) == recorded["sequences"][name]


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(everything(), indent=1) + "\n")
