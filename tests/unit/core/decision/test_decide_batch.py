"""Arms: which version decides which rows, the fallback, and shadows that change nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model, ModelFailure, refuse_failure
from stream_scorer.core.decision.decide_batch import (
    ArmDecisions,
    DecidedBatch,
    ModelErrors,
    decide_batch,
)
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.decision.routing import (
    BUCKETS,
    CANARY,
    CHAMPION,
    CONTROL,
    Override,
    Routing,
    Version,
    canary_slices,
    salted_buckets,
)
from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.compile import compile_union
from tests.support.core.deciding import score
from tests.support.core.events import batch, event
from tests.support.effort import examples
from tests.unit.core.decision.test_observe import SPECS, Linear, contents, rows

Float64 = NDArray[np.float64]
PLAN = Plan(lateness_ms=1_000, ring_cap=5, model_error_share=0.5)
OTHER = [
    {"name": "count", "kind": "count", "window": "2s"},
    {"name": "amount", "kind": "passthrough", "field": "amount"},
    {"name": "most", "kind": "max", "field": "amount", "window": "5s"},
]
OLD, NEW = Version("m", "1.0.0"), Version("m", "2.0.0")
ARMS = {CHAMPION: OLD, CONTROL: OLD, CANARY: NEW}


def halves(features: Float64) -> Float64:
    return np.minimum(features[:, 1] / 200.0, 1.0)


def never(features: Float64) -> Float64:
    raise ValueError("no such model")


def not_for_many(features: Float64) -> Float64:
    """Fail for rows with a count above 1."""
    if (features[:, 0] > 1).any():
        raise ValueError("too many")
    return halves(features)


def models(old: Linear | None = None, new: Linear | None = None) -> dict[Version, Model]:
    first, second = compile_union([SPECS, OTHER], PLAN)
    return {
        OLD: Model("m", "1.0.0", old or Linear(), first, Thresholds(0.5, 0.8)),
        NEW: Model("m", "2.0.0", new or Linear(halves), second, Thresholds(0.2, 0.4)),
    }


def routing(buckets: int = 0, **other: Any) -> Routing:
    return Routing(7, ARMS, canary_slices(buckets), salt="s", shared=PLAN, **other)


def told(decisions: DecisionBatch) -> dict[int, Any]:
    """Return each decision by its offset."""
    d = decisions
    return {
        offset: (
            d.score[row].tobytes(), int(d.outcome[row]), int(d.flags[row]),
            d.features[row].tobytes(), d.reasons.get(row), d.version,
        )
        for row, offset in enumerate(d.events.offset.tolist())
    }  # fmt: skip


def by_offset(scored: DecidedBatch) -> dict[int, tuple[Any, ...]]:
    found: dict[int, tuple[Any, ...]] = {}
    for part in scored.decided:
        for offset, each in told(part.decisions).items():
            assert offset not in found
            found[offset] = (part.decisions.arm, part.decisions.propensity, *each)
    return found


def arms_of(scored: DecidedBatch) -> dict[str, list[ArmDecisions]]:
    found: dict[str, list[ArmDecisions]] = {}
    for part in scored.decided:
        found.setdefault(part.decisions.arm, []).append(part)
    return found


EVENTS = batch(
    [event(n, customer_id=f"c{n % 40}", amount_minor=100 * (n % 90)) for n in range(200)]
)


@settings(max_examples=examples(40), deadline=None)
@given(before=rows, now=rows)
def test_a_champion_alone_decides_as_without_a_routing(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    plain, routed = PartitionRings(models()[OLD].features), PartitionRings(models()[OLD].features)
    for part in (before, now):
        expected = score(batch(part), plain, PLAN, models()[OLD])
        found = decide_batch(batch(part), routed, routing(), models())
        plain.release(expected.journals)
        routed.release(found.journals)
    (one,) = found.decided
    assert told(one.decisions) == told(expected.decisions)
    assert one.rows.tolist() == expected.accepted.tolist()
    assert (one.decisions.arm, one.decisions.plan_revision) == (CHAMPION, 7)
    assert one.decisions.propensity == 1.0
    assert found.rejections.rows.tolist() == expected.rejections.rows.tolist()
    assert contents(routed) == contents(plain)


def test_each_arm_decides_its_customers_as_if_it_were_alone() -> None:
    alone = {
        version: told(score(EVENTS, PartitionRings(model.features), PLAN, model).decisions)
        for version, model in models().items()
    }
    rings = PartitionRings(models()[OLD].features)
    found = by_offset(decide_batch(EVENTS, rings, routing(2_500), models()))
    customers = hashes_of(EVENTS.records.column("customer_id"))
    buckets = salted_buckets(customers, "s")
    assert len(found) == len(EVENTS)
    for row, offset in enumerate(EVENTS.offset.tolist()):
        bucket = buckets[row]
        arm = CANARY if bucket < 2_500 else CONTROL if bucket >= 7_500 else CHAMPION
        expected = alone[NEW if arm == CANARY else OLD][offset]
        assert found[offset] == (arm, 0.5 if arm == CHAMPION else 0.25, *expected)
    assert {each[0] for each in found.values()} == {CANARY, CONTROL, CHAMPION}


def test_row_numbers_of_a_batch_count_its_rejected_rows() -> None:
    events = batch(
        [event(n, customer_id=f"c{n % 9}", currency="USD" if n % 3 == 0 else "EUR")
         for n in range(60)]
    )  # fmt: skip
    scored = decide_batch(events, PartitionRings(models()[OLD].features), routing(5_000), models())
    placed = np.concatenate([part.rows for part in scored.decided])
    assert sorted(placed.tolist()) == [n for n in range(60) if n % 3]
    for part in scored.decided:
        assert part.decisions.events.offset.tolist() == events.offset[part.rows].tolist()
        assert (np.diff(part.rows) > 0).all()


def test_the_champion_decides_a_failing_canarys_rows_and_reports() -> None:
    broken = models(new=Linear(not_for_many))
    whole = by_offset(
        decide_batch(EVENTS, PartitionRings(models()[OLD].features), routing(5_000), models())
    )
    champion = told(
        score(EVENTS, PartitionRings(models()[OLD].features), PLAN, models()[OLD]).decisions
    )
    scored = decide_batch(EVENTS, PartitionRings(broken[OLD].features), routing(5_000), broken)
    found = by_offset(scored)
    fell = {offset for offset, each in found.items() if each[4] & Flag.FALLBACK}
    assert fell == {o for o, each in whole.items() if each[0] == CANARY and _count(each) > 1}
    assert 0 < len(fell) < sum(each[0] == CANARY for each in whole.values())
    for offset, each in found.items():
        if offset in fell:
            score_bytes, outcome, flags, features, reasons, version = champion[offset]
            expected = (score_bytes, outcome, flags | Flag.FALLBACK, features, reasons, version)
            assert each == (CANARY, 0.5, *expected)
        else:
            assert each == whole[offset]
    assert [p.failure for p in scored.decided if p.failure] == [
        ModelErrors(NEW, len(fell), "ValueError: too many")
    ]


def _count(each: tuple[Any, ...]) -> float:
    return float(np.frombuffer(each[5])[0])


def test_a_canary_that_always_fails_stops_nothing() -> None:
    broken = models(new=Linear(never))
    scored = decide_batch(EVENTS, PartitionRings(broken[OLD].features), routing(BUCKETS), broken)
    assert [(p.decisions.arm, p.decisions.version) for p in scored.decided] == [(CANARY, "1.0.0")]
    assert (scored.decided[0].decisions.flags & Flag.FALLBACK).all()


@pytest.mark.parametrize("buckets", [0, 2_500])
def test_a_champion_failing_for_too_many_stops_without_a_trace(buckets: int) -> None:
    broken = models(old=Linear(never))
    rings = PartitionRings(broken[OLD].features)
    before = contents(rings)
    with pytest.raises(ModelFailure, match="no such model"):
        decide_batch(EVENTS, rings, routing(buckets), broken)
    assert [p for p in contents(rings) if p] == before


def test_a_champion_failing_as_the_fallback_stops_as_well() -> None:
    broken = models(old=Linear(never), new=Linear(never))
    rings = PartitionRings(broken[OLD].features)
    before = contents(rings)
    with pytest.raises(ModelFailure, match="no such model"):
        decide_batch(EVENTS, rings, routing(BUCKETS), broken)
    assert [p for p in contents(rings) if p] == before


@pytest.mark.parametrize(("feature", "stops"), [(np.nan, False), (np.inf, False), (7.0, True)])
def test_rows_with_a_missing_feature_stop_nothing(feature: float, stops: bool) -> None:  # noqa: FBT001 a parameter of the test
    failed, features = np.ones(100, np.bool_), np.ones((100, 2))
    features[:95, 1] = feature
    if not stops:
        refuse_failure(failed, features, "not a number", Plan())
        features[95 - 6 :, 1] = 0.0
    with pytest.raises(ModelFailure, match=f"for {100 if stops else 11} rows: not a number"):
        refuse_failure(failed, features, "not a number", Plan())


def test_a_champion_failing_for_few_rows_affects_only_these() -> None:
    def but_one(features: Float64) -> Float64:
        return np.where(features[:, 0] == 1.0, np.nan, 0.1)

    found = decide_batch(
        EVENTS, PartitionRings(models()[OLD].features), routing(), models(Linear(but_one))
    )
    (part,) = found.decided
    failed = [row for row, codes in part.decisions.reasons.items() if codes == ("MODEL_ERROR",)]
    assert part.failure is not None
    assert part.failure.rows == len(failed) == int((EVENTS.int64("amount_minor") == 100).sum()) > 0
    assert (part.decisions.outcome[failed] == Outcome.REVIEW).all()


def test_a_shadow_scores_all_and_changes_no_decision() -> None:
    rings = PartitionRings(models()[OLD].features)
    plain = by_offset(decide_batch(EVENTS, rings, routing(), models()))
    arms = {**ARMS, "next": NEW}
    shadowing = replace(routing(), versions=arms, shadows=("next",))
    scored = decide_batch(EVENTS, PartitionRings(models()[OLD].features), shadowing, models())
    assert by_offset(scored) == plain
    alone = score(EVENTS, PartitionRings(models()[NEW].features), PLAN, models()[NEW]).decisions
    (shadowed,) = scored.shadowed
    assert shadowed.score.tobytes() == alone.score.tobytes()
    assert shadowed.outcome.tolist() == alone.outcome.tolist()
    assert (shadowed.arm, shadowed.version, shadowed.plan_revision) == ("next", "2.0.0", 7)
    decided = scored.decided[0].decisions
    assert shadowed.decided_score.tobytes() == decided.score.tobytes()
    assert shadowed.decided_outcome.tolist() == decided.outcome.tolist()
    assert not shadowed.failed.any()


def test_a_failing_shadow_is_reported_and_affects_no_decision() -> None:
    broken = models(new=Linear(not_for_many))
    shadowing = replace(routing(), versions={**ARMS, "next": NEW}, shadows=("next",))
    scored = decide_batch(EVENTS, PartitionRings(broken[OLD].features), shadowing, broken)
    (shadowed,) = scored.shadowed
    assert 0 < shadowed.failed.sum() < len(EVENTS)
    assert shadowed.failure == ModelErrors(NEW, int(shadowed.failed.sum()), "ValueError: too many")
    assert np.isnan(shadowed.score[shadowed.failed]).all()
    assert (shadowed.outcome[shadowed.failed] == Outcome.REVIEW).all()
    assert not any(each[4] & Flag.FALLBACK for each in by_offset(scored).values())


def test_customers_sent_by_an_override_are_not_evidence() -> None:
    vip = (Override("customer_id", ("c1", "c2"), CANARY),)
    found = by_offset(
        decide_batch(
            EVENTS, PartitionRings(models()[OLD].features), routing(500, overrides=vip), models()
        )
    )
    for row, customer in enumerate(EVENTS.records.column("customer_id").to_pylist()):
        arm, propensity = found[int(EVENTS.offset[row])][:2]
        if customer in {"c1", "c2"}:
            assert (arm, propensity) == (CANARY, 1.0)
        else:
            assert propensity == {CANARY: 0.05, CONTROL: 0.05, CHAMPION: 0.9}[arm]


@settings(max_examples=examples(40), deadline=None)
@given(stream=rows, cut=st.integers(0, 30), buckets=st.integers(0, BUCKETS))
def test_decisions_do_not_depend_on_how_the_input_is_cut(
    stream: list[dict[str, Any]], cut: int, buckets: int
) -> None:
    found = []
    for parts in ([stream], [stream[:cut], stream[cut:]]):
        rings = PartitionRings(models()[OLD].features)
        decided: dict[int, Any] = {}
        at = 0
        for part in parts:
            events = batch(part)
            events = replace(events, offset=np.arange(at, at + len(part)))
            at += len(part)
            scored = decide_batch(events, rings, routing(buckets), models())
            rings.release(scored.journals)
            decided |= by_offset(scored)
        found.append(decided)
    assert found[0] == found[1]


def test_stages_are_reported_by_arm_if_there_are_several() -> None:
    laps: list[str] = []
    decide_batch(
        EVENTS, PartitionRings(models()[OLD].features), routing(2_500), models(), laps.append
    )
    assert {lap for lap in laps if lap.startswith("score")} == {
        "score:canary", "score:control", "score:champion"
    }  # fmt: skip
    orders = set()
    for first in (0, 1):
        laps = []
        events = replace(EVENTS, offset=EVENTS.offset + first)
        decide_batch(
            events, PartitionRings(models()[OLD].features), routing(2_500), models(), laps.append
        )
        orders.add(tuple(lap for lap in laps if lap.startswith("score")))
    assert len(orders) == 2


class Unexplained(Linear):
    """A model that scores, but has no attributions."""

    def attributions(self, features: Float64) -> tuple[Float64, float]:  # noqa: ARG002 as it is asked
        raise RuntimeError("no reasons")


def test_a_model_without_explanations_fails_where_one_is_due() -> None:
    whole = by_offset(
        decide_batch(EVENTS, PartitionRings(models()[OLD].features), routing(5_000), models())
    )
    broken = models(new=Unexplained(halves))
    found = by_offset(
        decide_batch(EVENTS, PartitionRings(broken[OLD].features), routing(5_000), broken)
    )
    fell = {offset for offset, each in found.items() if each[4] & Flag.FALLBACK}
    assert fell == {o for o, each in whole.items() if each[0] == CANARY and each[3] > 0} != set()
    assert {o: each for o, each in found.items() if o not in fell} == {
        o: each for o, each in whole.items() if o not in fell
    }
    champion = models(old=Unexplained(lambda f: np.where(f[:, 0] == 1.0, 0.9, 0.1)))
    (part,) = decide_batch(
        EVENTS, PartitionRings(champion[OLD].features), routing(), champion
    ).decided
    assert part.failure is not None
    assert part.failure.error == "RuntimeError: no reasons"
    assert {part.decisions.reasons[row] for row in part.decisions.reasons} == {("MODEL_ERROR",)}
    assert len(part.decisions.reasons) == part.failure.rows > 0


POLICY = {
    "default": {"review": 0.3, "block": 0.6},
    "segment": [{"when": {"amount_above": 40}, "review": 0.05, "block": 0.1}],
    "on_model_error": "APPROVE",
}


def by_policy(score: float, amount: int) -> Outcome:
    """Return the expected outcome, in plain Python."""
    if np.isnan(score):
        return Outcome.APPROVE
    review, block = (0.05, 0.1) if amount > 4_000 else (0.3, 0.6)
    return Outcome((score >= review) + (score >= block))


def test_a_policy_moves_the_outcomes_of_all_arms_alone() -> None:
    # The canary fails for some of its rows, and the champion for some of those.
    made = models(
        Linear(lambda features: _but_for(features[:, 0], 50, 52)),
        Linear(lambda features: _but_for(features[:, 1], 30, 60)),
    )
    first = Routing(7, ARMS | {"also": NEW}, canary_slices(4_000), shadows=("also",), salt="s",
                    shared=PLAN)  # fmt: skip
    then = replace(first, revision=8, shared=replace(PLAN, policy=POLICY))
    before, after = (
        decide_batch(EVENTS, PartitionRings(made[OLD].features), each, made)
        for each in (first, then)
    )
    amounts = dict(enumerate(EVENTS.int64("amount_minor").tolist()))
    moved: set[tuple[str, bool]] = set()
    assert [part.rows.tolist() for part in before.decided] == [
        part.rows.tolist() for part in after.decided
    ]
    for was, now in zip(before.decided, after.decided, strict=True):
        assert (was.stage, was.failure) == (now.stage, now.failure)
        old, new = was.decisions, now.decisions
        assert (old.plan_revision, new.plan_revision) == (7, 8)
        assert (old.arm, old.version, old.propensity) == (new.arm, new.version, new.propensity)
        for name in ("score", "features", "flags"):
            assert getattr(old, name).tobytes() == getattr(new, name).tobytes()
        wanted = [
            by_policy(score, amounts[offset])
            for score, offset in zip(new.score.tolist(), new.events.offset.tolist(), strict=True)
        ]
        assert new.outcome.tolist() == wanted
        if (old.outcome != new.outcome).any():
            moved.add((new.arm, bool((new.flags & Flag.FALLBACK).any())))
    assert moved == {(CHAMPION, False), (CONTROL, False), (CANARY, False), (CANARY, True)}
    (shadow,), (later,) = before.shadowed, after.shadowed
    assert shadow.score.tobytes() == later.score.tobytes()
    assert shadow.outcome.tolist() != later.outcome.tolist()
    assert later.outcome.tolist() == [
        by_policy(score, amount)
        for score, amount in zip(later.score.tolist(), amounts.values(), strict=True)
    ]


def _but_for(amount: Float64, low: float, high: float) -> Float64:
    """Score by amount; fail from ``low`` to below ``high``."""
    return np.where((amount >= low) & (amount < high), np.nan, amount / 100.0)
