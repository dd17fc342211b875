"""The controller's fold has the same state for any pieces and after crashes; and its commands."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.decision.routing import CANARY, CHAMPION, CONTROL
from stream_scorer.errors import ModelError, RegistryUnavailableError
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.rollout.controller import fold
from stream_scorer.rollout.controller.columns import EvidenceColumns
from stream_scorer.rollout.controller.decide import Action
from stream_scorer.rollout.controller.fold import Controlling
from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.evidence.verdicts import CANARY_WAY, FAST, SHADOW_WAY, SLOW, Judged
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.telemetry import Event, RolloutEvidence, RolloutJudged
from tests.support.effort import examples
from tests.support.rollout.rollout_stage import (
    CODECS,
    FILES,
    NUMBERS,
    Commands,
    Topics,
    buckets,
    columns,
    customers,
    louder,
    manifest_of,
    rollout,
)
from tests.unit.rollout.controller.test_decide import write_by_controller

HOUR = 3_600_000
DAY = 24 * HOUR


class Stage:
    """A controller, and a log and topics that a test writes."""

    def __init__(self, commands: Commands, file: Path | None = None, **changed: Any) -> None:
        self.told: list[Event] = []
        options = {
            "columns": columns(), "numbers": NUMBERS, "file": file, "slack_ms": HOUR,
            "most_rows": 10_000, "listener": self.told.append,
        }  # fmt: skip
        self.controlling = Controlling(commands, **{**options, **changed})

    def dump(self) -> bytes:
        assert self.controlling._gathering is not None
        return self.controlling._gathering.dump()

    def last(self, guard: str, way: str = CANARY_WAY) -> Judged:
        assert self.controlling._gathering is not None
        judged = self.controlling._gathering.last(way, guard)
        assert judged is not None
        return judged


def traffic(seed: int, count: int = 400, *, fraud: float = 0.3) -> tuple[Commands, Topics]:
    """Return some days of a rollout, with late, early and repeated labels, and timed calls."""
    random = np.random.default_rng(seed)
    commands = rollout()
    topics = Topics(commands.routing)
    stepped = count // 2
    pool = [str(number) for number in range(1, 200)]
    for number in range(count):
        if number == stepped:
            commands.writer.accept("step", stage=1)
            topics.routing = commands.routing
        time = DAY + number * 200_000 + int(random.integers(-300_000, 300_000))
        customer, name = pool[int(random.integers(len(pool)))], f"t{number}"
        truth = bool(random.random() < fraud)
        if random.random() < 0.2:
            topics.label(name, customer, time, fraud=not truth, timestamp=DAY + number * 200_000)
        outcome = ("APPROVE", "REVIEW", "BLOCK")[int(random.integers(3))]
        topics.decision(
            name, customer, time, outcome=outcome, amount=float(random.integers(1, 90_000)) / 100,
            score=float("nan") if random.random() < 0.05 else 0.5,
            timestamp=DAY + number * 200_000,
            **({"propensity": 1.0} if random.random() < 0.1 else {}),
        )  # fmt: skip
        topics.label(
            name, customer, time, fraud=truth, known=time + int(random.integers(1, 2 * HOUR)),
            timestamp=DAY + number * 200_000,
        )  # fmt: skip
        if number % 5 == 0:
            topics.summary(CANARY, 3, DAY + number * 200_000, {"score": 0.1}, last=False)
            stages = {f"score:{CANARY}": 0.1, f"score:{CONTROL}": float(random.random()) / 100}
            topics.summary(CONTROL, 2, DAY + number * 200_000, stages, last=True)
    return commands, topics


@settings(max_examples=examples(12), deadline=None)
@given(st.integers(0, 1_000), st.lists(st.integers(0, 1_200), max_size=6), st.data())
def test_the_same_records_give_one_state_despite_crashes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, pieces: list[int], data: st.DataObject
) -> None:
    commands, topics = traffic(seed, 160)
    count = len(topics.rows)
    whole = Stage(commands)
    whole.controlling.fold(topics.raw())

    file = tmp_path_factory.mktemp("join") / "f"
    cut = Stage(commands, file)
    edges = sorted({0, count, *(piece for piece in pieces if piece < count)})
    for begin, end in pairwise(edges):
        if data.draw(st.booleans()):
            # A crash: the next process reads all records since the last commit again.
            cut.controlling.fold(topics.raw(begin, end))
            cut.controlling.close()
            cut = Stage(commands, file)
        cut.controlling.fold(topics.raw(begin, end))
        cut.controlling.commit({("decisions", 0): end})
    assert cut.dump() == whole.dump()
    assert cut.controlling.clock_ms == whole.controlling.clock_ms
    assert len(cut.controlling._joined) == len(whole.controlling._joined)
    assert cut.controlling.places() == {("decisions", 0): count}
    cut.controlling.close()


def test_matured_decisions_cost_what_plain_counting_gives() -> None:
    commands, topics = traffic(3, 300)
    stage = Stage(commands)
    stage.controlling.fold(topics.raw())
    gathering = stage.controlling._gathering
    assert gathering is not None
    decisions = [CODECS["decisions"].decode(v, FILES) for t, _, v, _, _ in topics.rows
                 if t == "decisions" and v is not None]  # fmt: skip
    labels = [CODECS["labels"].decode(v, FILES) for t, _, v, _, _ in topics.rows
              if t == "labels" and v is not None]  # fmt: skip
    edge = stage.controlling.clock_ms // 600_000 * 600_000
    expected = np.zeros((2, 5_000))
    counted = np.zeros((2, 5_000))
    for decision in decisions:
        time = _ms(decision["event_time"])
        if time + 2 * HOUR > edge or decision["propensity"] == 1 or decision["arm"] == CHAMPION:
            continue
        known = [
            (_ms(at) if (at := label["label_time"]) else time, place, label["is_fraud"])
            for place, label in enumerate(labels)
            if label["transaction_id"] == decision["transaction_id"]
        ]
        in_time = [each for each in known if each[0] <= time + HOUR]
        fraud = max(in_time)[2] if in_time else False
        amount = _amount(decision)
        cost = {
            "APPROVE": min(amount, 200.0) if fraud else 0.0,
            "REVIEW": 5.0,
            "BLOCK": 0.0 if fraud else 25.0,
        }[decision["decision"]]
        (bucket,) = buckets([decision["customer_id"]], topics.routing.salt)
        side, pair = (0, bucket) if decision["arm"] == CANARY else (1, 9_999 - bucket)
        expected[side, pair] += cost
        counted[side, pair] += 1
    way = gathering._ways[CANARY_WAY]
    assert counted.sum() > 20
    np.testing.assert_array_equal(way.matured_count, counted)
    np.testing.assert_allclose(way.cost, expected, rtol=1e-12)
    mature = sum(_ms(d["event_time"]) + 2 * HOUR <= edge for d in decisions)
    # The others mature within a minute, and never early.
    assert mature - 20 <= way.matured <= mature


def test_errors_are_rows_without_a_score_and_fallback_canaries() -> None:
    commands = rollout()
    topics = Topics(commands.routing)
    canary, control = (customers(topics.routing, arm, 1)[0] for arm in (CANARY, CONTROL))
    topics.decision("a", canary, DAY)
    topics.decision("b", canary, DAY, score=float("nan"))
    topics.decision("c", canary, DAY, model_version="1.0.0", flags=["fallback"])
    topics.decision("d", control, DAY)
    topics.decision("e", control, DAY, score=float("nan"))
    stage = Stage(commands)
    stage.controlling.fold(topics.raw())
    assert stage.controlling._gathering is not None
    tallies = stage.controlling._gathering._ways[CANARY_WAY].tallies
    count, errors, alerts, approved = tallies.found.sum(axis=2).tolist()
    assert (count, errors, alerts) == ([3, 2], [2, 1], [0, 0])
    assert approved == [3_000, 2_000]


def obey(commands: Commands, stage: Stage) -> Action:
    """Write the due commands, as the controller does; return the remaining actions."""
    head, verdicts, action = stage.controlling.due()
    assert head == commands.log.state.head
    for verdict in verdicts:
        write_by_controller(commands.writer, CommandKind.VERDICT, verdict)
    if action.command is not None:
        write_by_controller(commands.writer, *action.command)
    return action


def test_a_harmless_canary_goes_up_its_ramp_only_as_allowed() -> None:
    commands = rollout(ramp=((25.0, 3_600), (50.0, 0)))
    stage = Stage(commands)
    topics = louder(Topics(commands.routing), 1)
    half = 162 * 5
    stage.controlling.fold(topics.raw(0, half))
    assert obey(commands, stage).reasons[0].startswith("stage 0 has lasted 2400 s, less")
    stage.controlling.fold(topics.raw(half, None))
    assert stage.last(FAST).judgement.verdict is Verdict.CONTINUE
    assert obey(commands, stage).kind is CommandKind.STEP
    assert commands.log.state.stage == 1
    held = obey(commands, stage)
    assert held.kind is None
    assert held.reasons == ("the newest revision has decided nothing yet, or no look was taken",)
    assert commands.log.state.verdicts["fast"].verdict.verdict is Verdict.CONTINUE


def test_a_step_that_was_just_written_counts_from_its_first_row() -> None:
    commands = rollout()
    stage = Stage(commands)
    commands.writer.accept("step", stage=1)
    topics = Topics(commands.routing)
    topics.decision("a", customers(topics.routing, CANARY, 1)[0], DAY)
    stage.controlling.fold(topics.raw())
    assert stage.controlling._gathering is not None
    assert stage.controlling._gathering.since[commands.routing.revision].canary == 1


def test_labels_promote_a_cheap_candidate_and_revert_another() -> None:
    for factor, delta, expected in (
        (1, 20.0, CommandKind.PROMOTE),
        (16, 0.05, CommandKind.ROLLBACK),
    ):
        # A large tolerance for alerts, so that only costs matter.
        tolerance = {"alerts": 1e6, "approved_value": 1e6}
        commands = rollout(
            ramp=((25.0, 36_000), (50.0, 0)),
            delta=delta, least_frauds=50, least_pairs=5, tolerance=tolerance,
        )  # fmt: skip
        stage = Stage(commands)
        stage.controlling.fold(louder(Topics(commands.routing), factor, every=10).raw())
        slow = stage.last(SLOW)
        assert slow.judgement.numbers["frauds_canary"] > 50
        action = obey(commands, stage)
        assert action.kind is expected
        assert action.reasons == slow.judgement.reasons
        assert commands.log.state.verdicts["slow"].verdict.verdict is slow.judgement.verdict
        assert not commands.log.state.running


def test_a_canary_with_more_alerts_is_rolled_back_for_good() -> None:
    commands = rollout()
    stage = Stage(commands)
    stage.controlling.fold(louder(Topics(commands.routing), 8).raw())
    action = obey(commands, stage)
    assert action.kind is CommandKind.ROLLBACK
    assert action.reasons[0].startswith("alerts: evidence")
    assert commands.log.state.verdicts["fast"].verdict.verdict is Verdict.ROLL_BACK
    assert obey(commands, stage).reasons == ("nothing is rolled out",)
    told = [e for e in stage.told if isinstance(e, RolloutJudged) and e.guard == FAST]
    assert told[-1].verdict == "ROLL_BACK"


def test_calls_are_timed_per_row_of_their_transaction() -> None:
    commands = rollout(slow_call_us=100.0)
    topics = Topics(commands.routing)
    topics.summary(CANARY, 3, 1_000, {}, last=False)
    topics.summary(CANARY, 4, 1_000, {"score": 0.00101}, last=False)
    # The champion was the fallback for three rows, and an override sent fifty rows to another call.
    topics.summary(CANARY, 3, 1_000, {"score": 0.0007}, last=False)
    topics.summary(CANARY, 50, 1_000, {"score": 0.5}, last=False)
    stages = {f"score:{CANARY}": 0.00101, "score:fallback": 0.0007, "score:canary:override": 0.5}
    topics.summary(CONTROL, 10, 1_000, {**stages, "score:control": 0.001}, last=True)
    topics.summary(CANARY, 1, 1_001, {"score:canary": 0.0001, "score:control": 0.0}, last=True)
    topics.put("summaries", 0, b"nothing of ours", 1_002)
    stage = Stage(commands)
    stage.controlling.fold(topics.raw())
    assert stage.controlling._gathering is not None
    slots = stage.controlling._gathering._ways[CANARY_WAY].slots.plain()
    assert slots["found"] == [[1, 1, 2, 0, 1]]
    assert stage.told == [RolloutEvidence(0, 0, unreadable=1)]


def test_summaries_without_a_last_one_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "_CALLS_MOST", 20)
    commands = rollout(slow_call_us=100.0)
    topics = Topics(commands.routing)
    for _ in range(50):
        topics.summary("x" * 1_000, 1, 1_000, {"score": 0.5}, last=False)
    stage = Stage(commands, tmp_path / "f")
    stage.controlling.fold(topics.raw())
    stage.controlling.commit({("summaries", 0): 50})
    kept = json.loads(stage.controlling._joined.note("calls") or b"")
    assert kept == [["", 0.5, 1]] * 20
    # Their transaction ends at the next last summary.
    topics.summary(CONTROL, 10, 1_000, {"score:control": 0.001}, last=True)
    topics.summary(CANARY, 1, 1_001, {"score:canary": 0.0001}, last=True)
    stage.controlling.fold(topics.raw(50))
    stage.controlling.commit({("summaries", 0): 52})
    assert json.loads(stage.controlling._joined.note("calls") or b"") == []
    stage.controlling.close()


def test_shadow_compares_the_same_transactions_for_both_versions() -> None:
    commands = rollout(ramp=((0.0, 0), (25.0, 0)))
    topics = Topics(commands.routing)
    for number in range(60):
        customer = str(number)
        time = DAY + number * 600_000
        topics.decision(f"t{number}", customer, time)
        topics.shadow_score(f"t{number}", customer, time, outcome="REVIEW", decided="APPROVE")
        topics.label(f"t{number}", customer, time, fraud=number % 2 == 0, timestamp=time)
    stage = Stage(commands)
    stage.controlling.fold(topics.raw())
    fast, slow = stage.last(FAST, SHADOW_WAY), stage.last(SLOW, SHADOW_WAY)
    assert fast.judgement.numbers["alerts_canary"] == 1.0
    assert fast.judgement.numbers["alerts_control"] == 0.0
    assert slow.judgement.numbers["count_canary"] >= 40
    assert slow.judgement.numbers["cost_canary"] == 5.0
    assert slow.judgement.numbers["cost_control"] == pytest.approx(5.0, abs=0.2)


def test_another_plan_starts_over_and_the_offsets_stay(tmp_path: Path) -> None:
    commands, topics = traffic(5, 60)
    stage = Stage(commands, tmp_path / "f")
    stage.controlling.fold(topics.raw())
    stage.controlling.commit({("decisions", 0): 7})
    assert len(stage.controlling._joined) > 0
    commands.writer.accept("rollback")
    stage.controlling.due()
    assert len(stage.controlling._joined) == 0
    assert stage.controlling.places() == {("decisions", 0): 7}
    stage.controlling.fold(topics.raw())
    stage.controlling.commit({("decisions", 0): 8})
    assert stage.controlling._gathering is None
    stage.controlling.close()


class Down(SchemaSource):
    """A registry that does not answer for labels."""

    def __init__(self) -> None:
        self.down = True

    def writer_schema(self, schema_id: int) -> str:
        if self.down and schema_id == 3:
            raise RegistryUnavailableError("registry: refused")
        return FILES.writer_schema(schema_id)

    def id_for(self, subject: str, schema: str) -> int:
        return FILES.id_for(subject, schema)


def test_a_registry_that_is_out_of_reach_leaves_no_trace() -> None:
    commands, topics = traffic(7, 60)
    registry = Down()
    columns = EvidenceColumns(registry, SCHEMAS_DIRECTORY, lambda: manifest_of)
    stage = Stage(commands, columns=columns)
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            stage.controlling.fold(topics.raw())
    registry.down = False
    stage.controlling.fold(topics.raw())
    whole = Stage(commands)
    whole.controlling.fold(topics.raw())
    assert stage.dump() == whole.dump()


def test_a_version_without_an_amount_feature_is_refused() -> None:
    commands, topics = traffic(7, 3)

    def without(label: str) -> Any:
        manifest = manifest_of(label)
        specs = [spec for spec in manifest.features if spec.get("field") != "amount"]
        return manifest.model_copy(update={"features": specs})

    stage = Stage(commands, columns=EvidenceColumns(FILES, SCHEMAS_DIRECTORY, lambda: without))
    with pytest.raises(ModelError, match=r"fraud:1\.\d\.0: has no feature of kind passthrough"):
        stage.controlling.fold(topics.raw())


def test_features_of_another_size_than_the_models_are_left_out() -> None:
    commands = rollout()
    topics = Topics(commands.routing)
    topics.decision("a", "1", DAY, features=b"12345678")
    topics.put("decisions", 0, None, DAY)
    topics.put("labels", 0, b"\0\0\0\0\3", DAY)
    topics.put("shadow-scores", 0, b"", DAY)
    stage = Stage(commands)
    stage.controlling.fold(topics.raw())
    assert stage.told == [RolloutEvidence(0, 0, unreadable=4)]


@pytest.mark.parametrize("there", [False, True])
def test_a_forged_decision_of_an_unnamed_version_stops_nothing(there: bool) -> None:  # noqa: FBT001
    def manifest(label: str) -> Any:
        if not label.startswith("other"):
            return manifest_of(label)
        if not there:
            raise ModelError(f"model {label}: is not there")
        return manifest_of("fraud:1.0.0").model_copy(update={"features": []})

    commands, topics = traffic(7, 3)
    topics.decision("a", "forged", DAY, model="other", plan_revision=2**62)
    stage = Stage(commands, columns=EvidenceColumns(FILES, SCHEMAS_DIRECTORY, lambda: manifest))
    stage.controlling.fold(topics.raw())
    assert [told.unreadable for told in stage.told if isinstance(told, RolloutEvidence)][-1] == 1


def _ms(when: Any) -> int:
    return round(when.timestamp() * 1_000)


def _amount(decision: dict[str, Any]) -> float:
    specs = manifest_of(f"fraud:{decision['model_version']}").features
    at = [spec.get("field") == "amount" for spec in specs].index(True)
    return float(np.frombuffer(decision["features"], "<f8")[at])


def test_the_notes_are_plain(tmp_path: Path) -> None:
    commands, topics = traffic(9, 20)
    stage = Stage(commands, tmp_path / "f")
    stage.controlling.fold(topics.raw())
    stage.controlling.commit({})
    kept = stage.controlling._joined.note("clock")
    assert kept is not None
    assert json.loads(kept)["watermark"] == stage.controlling.clock_ms
    stage.controlling.close()
