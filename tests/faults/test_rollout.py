"""Aborts, a failing canary and a failing champion while revisions begin in the stream."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.decide import Model
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.bundles import loader
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import Float64
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rollout.log import load_versions
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind, Step
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Models, Settings
from stream_scorer.telemetry import (
    BatchAborted,
    DependencyBack,
    DependencyUnavailable,
    Event,
    ModelFailed,
    PartitionsAssigned,
    RevisionActivated,
)
from tests.faults.test_aborts import COMPUTED, SENT, EachOnce, lost_network
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Api, Behind
from tests.support.faults.reference_run import (
    Heard,
    Outcome,
    committed,
    everything_once,
    feed,
    outcome,
    same,
    scored,
    transactions,
)
from tests.support.models.noise_bundles import AMOUNT, STORED, write

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

FOLLOW = Deployment(model="", start="earliest", follow=True)
OLD, NEW = "fraud:1.0.0", "fraud:1.2.0"
RAMP = [{"percent": 20}, {"percent": 50}]
RECORDS = transactions()
MUCH = 60.0
"""In units of the currency."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    store = tmp_path_factory.mktemp("models")
    write(store, "1.0.0", (AMOUNT, {"name": "COUNT_7D", "kind": "count", "window": "7d"}))
    write(store, "1.2.0", (AMOUNT, STORED))
    return Models(directory=store)


def planned(kafka: Kafka, *, through: tuple[float, float] = (0.3, 0.6)) -> list[int]:
    """Append a plan, a ramp and a stage that begins at a share of the time; return revisions."""
    first, last = (int(each.timestamp() * 1_000) for each in (event_times()[0], event_times()[-1]))
    begins = [first + int(share * (last - first)) for share in through]
    log = ControlLog(Settings(kafka=kafka))
    versions = {"champion": OLD, "canary": NEW}
    commands: list[tuple[CommandKind, Any]] = [
        (CommandKind.PLAN, plan_of({"name": "a", "strategy": "champion", "versions": {"champion":
        OLD}})), (CommandKind.PLAN, plan_of({"name": "b", "strategy": "canary", "salt": "s",
        "versions": versions,
                             "ramp": RAMP, "effective_at": begins[0]})),
        (CommandKind.STEP, Step(stage=1, effective_at=begins[1])),
    ]  # fmt: skip
    found = []
    for kind, body in commands:
        entry = log.append(kind, body, None)
        assert entry.command is not None
        found.append(entry.command.sequence)
    log.close()
    return found


def event_times() -> list[Any]:
    codec = RecordCodec(1, reader_schema("transaction.v1"))
    files = FileRegistry(SCHEMAS_DIRECTORY)
    values = [record.value or b"" for record in RECORDS if not record.bad]
    return sorted(codec.decode(value, files)["event_time"] for value in values)


def activations(kafka: Kafka) -> list[tuple[int, int, int]]:
    codec = RecordCodec(8, reader_schema("activation.v1"))
    files = FileRegistry(SCHEMAS_DIRECTORY)
    rows = [codec.decode(m.value(), files) for m in read_all(kafka, kafka.topics.activations)]
    assert {row["status"] for row in rows} == {"ACTIVE"}
    return sorted((row["partition"], row["offset"], row["revision"]) for row in rows)


def told(found: Outcome) -> dict[tuple[int, int], tuple[Any, ...]]:
    return {
        at: (d["plan_revision"], d["arm"], d["model_version"], d["propensity"], d["score"])
        for at, d in found.decisions.items()
    }


def test_an_abort_after_any_step_leaves_no_trace_of_a_revision(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], models: Models
) -> None:
    found = []
    for stages in ((), COMPUTED + SENT):
        kafka = kafka_topics(kafka_settings())
        ends = feed(kafka, RECORDS)
        revisions = planned(kafka)
        named = tuple("score:canary" if stage == "score" else stage for stage in stages)
        hook = EachOnce(named, lost_network)
        result, heard = scored(kafka, ends, hook=hook, batch=100, deployment=FOLLOW, models=models)
        assert hook.left == []
        assert len(heard.of(BatchAborted)) == len(stages)
        begun = activations(kafka)
        assert len(begun) == len(set(begun)) == 4 * len(revisions)
        said = sorted((r.partition, r.offset, r.revision) for r in heard.of(RevisionActivated))
        assert said == begun
        found.append((result, begun))
    (calm, begun), (result, again) = found
    everything_once(calm, RECORDS)
    same(result, calm)
    assert told(result) == told(calm)
    assert result.dumps == calm.dumps
    assert again == begun
    assert {each[1] for each in told(calm).values()} == {"champion", "control", "canary"}


def with_predictor(
    monkeypatch: pytest.MonkeyPatch, version: str, scores: Callable[[Any, Float64], Float64]
) -> None:
    """Replace a version's scores by a function of its real predictor and the features."""
    real = loader.models_under

    class Wrapped:
        def __init__(self, predictor: Any) -> None:
            self.feature_count = predictor.feature_count
            self._predictor = predictor

        def scores(self, features: Float64) -> Float64:
            return scores(self._predictor, features)

        def raw(self, features: Float64) -> Float64:
            return np.asarray(self._predictor.raw(features))

        def attributions(self, features: Float64) -> Any:
            return self._predictor.attributions(features)

    def models_under(*given: Any) -> tuple[Model, ...]:
        return tuple(
            replace(each, predictor=Wrapped(each.predictor)) if each.version == version else each
            for each in real(*given)
        )

    monkeypatch.setattr(load_versions, "models_under", models_under)


class Breaks:
    """Whether a model fails: from the first assignment until the scorer reports that it paused."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, PartitionsAssigned):
            self.broken = True
        elif isinstance(event, DependencyUnavailable):
            self.broken = False


def test_the_champion_decides_what_a_failing_canary_cannot(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], models: Models,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    breaks = Breaks()

    def not_above(real: Any, features: Float64) -> Float64:
        if breaks.broken and (features[:, 0] > MUCH).any():
            raise ValueError("no such amount")
        return np.asarray(real.scores(features))

    def run(told: Callable[[Event], None]) -> tuple[Outcome, Heard]:
        kafka = kafka_topics(kafka_settings())
        ends = feed(kafka, RECORDS)
        planned(kafka)
        return scored(kafka, ends, told=told, batch=200, deployment=FOLLOW, models=models)

    calm, _ = run(lambda _: None)
    with_predictor(monkeypatch, "1.2.0", not_above)
    found, heard = run(breaks)
    everything_once(found, RECORDS)
    assert found.offsets == calm.offsets
    fell = {at for at, d in found.decisions.items() if "fallback" in d["flags"]}
    for at, d in found.decisions.items():
        expected = calm.decisions[at]
        if at in fell:
            assert (expected["arm"], expected["features"][0] > MUCH) == ("canary", True)
            assert (d["arm"], d["model_version"]) == ("canary", "1.0.0")
            assert d["plan_revision"] == expected["plan_revision"]
        else:
            assert d == expected
            assert d["arm"] != "canary" or d["features"][0] <= MUCH
    failures = heard.of(ModelFailed)
    assert {(f.version, f.error) for f in failures} == {("1.2.0", "ValueError: no such amount")}
    assert sum(f.rows for f in failures) == len(fell) > 0
    assert heard.of(DependencyUnavailable) == []


def test_a_champion_that_raises_pauses_all_and_loses_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], models: Models,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    breaks = Breaks()

    def unless_broken(real: Any, features: Float64) -> Float64:
        if breaks.broken:
            raise ValueError("the model is broken")
        return np.asarray(real.scores(features))

    with_predictor(monkeypatch, "1.0.0", unless_broken)
    kafka = kafka_topics(kafka_settings())
    ends = feed(kafka, RECORDS)
    planned(kafka)
    found, heard = scored(kafka, ends, told=breaks, batch=200, deployment=FOLLOW, models=models)
    everything_once(found, RECORDS)
    (down,) = heard.of(DependencyUnavailable)
    assert (down.name, "the model is broken" in down.detail) == ("model", True)
    assert len(heard.of(DependencyBack)) == 1
    reasons = {reason for d in found.decisions.values() for reason in d["reasons"]}
    assert "MODEL_ERROR" not in reasons
    assert {d["arm"] for d in found.decisions.values()} == {"champion", "control", "canary"}


def test_a_takeover_waits_for_a_killed_scorers_transaction(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    models: Models, tmp_path: Path,
) -> None:  # fmt: skip
    """A revision whose transaction is never committed has not begun."""
    kafka = kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap, session_timeout_ms=6_000, transaction_timeout_ms=8_000,
            socket_timeout_ms=3_000,
        )
    )  # fmt: skip
    half = len(RECORDS) // 2
    variables = {"STREAM_SCORER_MODELS__DIRECTORY": str(models.directory)}
    log = ControlLog(Settings(kafka=kafka))
    first = plan_of({"name": "a", "strategy": "champion", "versions": {"champion": OLD}})
    log.append(CommandKind.PLAN, first, None)
    feed(kafka, RECORDS[:half])
    with ScorerProcess(
        kafka, tmp_path / "first", "--from", "earliest", variables=variables, follow=True
    ) as process:
        process.wait_ready()
        wait_until(lambda: sum(committed(kafka).values()) == half, "the first half is decided")
        second = plan_of({"name": "b", "strategy": "champion", "versions": {"champion": NEW}})
        entry = log.append(CommandKind.PLAN, second, None)
        assert entry.command is not None
        revision = entry.command.sequence
        wait_until(
            lambda: process.metric("stream_scorer_plan_revision") == revision, "it is loaded"
        )
        # The revision begins with the second half's first record, in a transaction that stays open.
        end = behind.proxy.fault(Api.END_TXN, "request")
        rest = threading.Thread(target=feed, args=(kafka, RECORDS[half:]))
        rest.start()
        behind.kill_at(end, process)
        rest.join()
    again = kafka.model_copy(update={"instance": "again"})
    with ScorerProcess(
        again, tmp_path / "second", "--from", "earliest", variables=variables, follow=True
    ) as process:
        wait_until(
            lambda: sum(committed(kafka).values()) == len(RECORDS),
            lambda: f"all is decided: {process.said}",
        )
    log.close()
    found = outcome(kafka)
    everything_once(found, RECORDS)
    begun = activations(kafka)
    assert [r for _, _, r in begun].count(revision) == len({p for p, _, _ in begun}) == 4
    begins = {p: o for p, o, r in begun if r == revision}
    for (partition, offset), d in found.decisions.items():
        assert (d["plan_revision"] == revision) == (offset >= begins[partition])
