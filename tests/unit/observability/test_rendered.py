"""The metrics and log lines of every event, compared with those that were recorded.

Names, types, labels, help texts, buckets, levels and fields are what dashboards and alerts rely on.
After an intended change, run this file as a script: it records them anew, and the difference is for
the review.
"""

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream_scorer import telemetry as h
from stream_scorer.observability.fleet import Fleet
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.render import Renderer

RECORDED = Path(__file__).with_name("rendered.json")

EXAMPLES = (
    h.BatchCommitted(4, {"APPROVE": 2, "BLOCK": 1}, "fraud", "1.0.0"),
    h.BatchCommitted(
        7, {"APPROVE": 5}, "fraud", "1.0.0", rejected={"EMPTY": 2}, flagged={"late": 1},
        stage_seconds={"poll": 0.01, "score": 0.2}, age_seconds=np.array([0.1, 0.5, 9.0]),
        next_offsets={0: 100, 3: 7}, others=(h.DecidedBy({"REVIEW": 1}, "fraud", "2.0.0"),),
    ),
    h.BatchAborted("rebalance", 3),
    h.RecordQuarantined("transactions", 1, 20, "ValueError in rings.py:7"),
    h.ReplayLeftOut(1, 20, "ValueError in rings.py:7"),
    h.ComputationHung(301.26, "rings.py:161 fold"),
    h.ComputationOver(),
    h.ProducerReborn("commit took 3 s"),
    h.CommitSettled(committed=True),
    h.CommitSettled(committed=False),
    h.PartitionsAssigned((0, 3), fresh=(3,)),
    h.FirstOffsetsCommitted((3,)),
    h.PartitionsRevoked((0, 3)),
    h.PartitionsRevoked((0, 3), lost=True),
    h.StandingBy(spare=True),
    h.StandingBy(spare=False),
    h.ReplayProgress(2, 10, 35),
    h.ReplayProgress(2, 36, 35),
    h.StateIncomplete(1, 5),
    h.StateIncomplete(1, 5, ("input", "ring_cap")),
    h.StateComplete(1),
    h.StateRestored(1, 9, 5, 25),
    h.ModelWarming("fraud", "2.0.0", 1, ("count_7d", "sum_7d"), 86_400_500),
    h.ModelWarming("fraud", "2.0.0", 1, (), 0),
    h.ColdAccepted(1, ("count_7d", "sum_7d"), 86_400_500),
    h.CheckpointWritten(3, 70, {1: 9, 2: 8}, {1: 2.5}),
    h.CheckpointFailed("broker refused"),
    h.DependencyUnavailable("registry", "refused"),
    h.DependencyBack("registry"),
    h.LagObserved({0: 9, 1: 8}, {0: 4, 1: 8}, {0: 1.5, 1: 2.5}),
    h.Stuck(31.5, (2, 4)),
    h.Moving(),
    h.KeyMisplaced(100, 3),
    h.KeyMisplaced(100, 0),
    h.ModelFailed("fraud", "1.0.0", 4, "NaN"),
    h.ModelVerified("fraud", "1.0.0", "start"),
    h.ModelVerified("fraud", "1.0.0", "signal"),
    h.ModelVerified("fraud", "1.0.0", "time", "sha256 differs"),
    h.ModelVerified("fraud", "1.0.0", "signal", "sha256 differs"),
    h.DriftDetected("ADWIN", "score"),
    h.RowsSettled(5, 86_400_500, 2, 1, {"delivered_late": 3, "after_cutoff": 4}),
    h.RowsSettled(5, None, 2, 0, {}),
    h.TerminalsRead(5, 86_400_500, 2),
    h.TerminalsRead(5, None),
    h.RecordsSkipped("rollout", 3, 0, 7, "not Avro"),
    h.RolloutEvidence(7, 5, 2, 3, 4),
    h.RolloutEvidence(7, 5),
    h.RolloutJudged("fast", "canary", "INVALID", 3),
    h.RolloutJudged("slow", "shadow", "INCONCLUSIVE", 3),
    h.RolloutJudged("slow", "shadow", "CONTINUE", 3),
    h.RolloutMoved("step", proposed=False, reason="no alert"),
    h.RolloutMoved("promotion", proposed=True, reason="better"),
    h.RolloutHeld("step", "another came first"),
    h.WorkerStarted(1, 4_711),
    h.WorkerLeft(1, "SIGKILL", 0.5),
    h.WorkerLeft(1, "exit 9", None),
    h.Stopping("SIGTERM"),
    h.PlanAwaited(),
    h.PlanAwaited(over=True),
    h.RevisionLoaded(2, {"champion": "fraud:1.0.0", "canary": "fraud:2.0.0"}),
    h.RevisionRefused(2, "no such bundle"),
    h.RevisionRefused(2, "lateness differs", 3),
    h.RevisionActivated(3, 100, 2),
)  # fmt: skip
"""At least one of each event, and one of each way in which it is rendered."""

SEQUENCES: dict[str, list[Any]] = {
    "aborts": [*[h.BatchAborted("broker", 3)] * 2, EXAMPLES[0], *[h.BatchAborted("broker", 3)] * 4],
    "outage": [
        h.DependencyBack("registry"), *[h.DependencyUnavailable("registry", "refused")] * 2,
        *[h.DependencyBack("registry")] * 2, h.DependencyUnavailable("registry", "refused"),
    ],
    "lag": [
        h.LagObserved({0: 9, 1: 8}, {0: 4, 1: 8}, {0: 1.5, 1: 2.5}),
        h.LagObserved({1: 7}, {1: 7}),
    ],
    "warm": [
        h.ModelWarming("fraud", "2.0.0", 1, ("count_7d",), 500),
        h.ModelWarming("fraud", "2.0.0", 1, (), 0), h.ModelWarming("fraud", "2.0.0", 2, (), 0),
    ],
    "bundles": [
        *[h.ModelVerified("fraud", "1.0.0", "time", "gone")] * 2,
        h.ModelVerified("fraud", "2.0.0", "time", "gone"),
        *[h.ModelVerified("fraud", "1.0.0", "signal", "gone")] * 2,
        *[h.ModelVerified("fraud", "1.0.0", "time")] * 2,
    ],
    "partitions": [h.PartitionsAssigned((0, 1, 2, 3)), *EXAMPLES, h.PartitionsAssigned((1, 2)),
                   h.PartitionsRevoked((1, 2, 3))],
    "conditions": [each for each in EXAMPLES for _ in range(2)],
}  # fmt: skip
"""Events whose rendering depends on those before them; they come 20 seconds apart."""

PARENTS = (h.WorkerStarted, h.WorkerLeft)


class Process:
    """A renderer and a fleet, with what they show and log."""

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
            self._fleet if isinstance(event, PARENTS) else self._renderer
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


def rendered(events: Iterable[Any]) -> dict[str, Any]:
    """Return which samples some events change, and which lines they log."""
    process = Process()
    before = process.samples
    for event in events:
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
        "sequences": {name: rendered(events) for name, events in SEQUENCES.items()},
    }


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(RECORDED.read_text())
    return contents


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
