"""The core is deterministic, tolerates model failures, and does not depend on the input's split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model, ModelFailure
from stream_scorer.core.decision.observe import PartitionRings, refold
from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import DecisionBatch, EventBatch, Flag, Outcome, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from tests.support.core.deciding import Scored, score
from tests.support.core.events import NOW, batch, event
from tests.support.effort import examples

Float64 = NDArray[np.float64]
PLAN = Plan(lateness_ms=1_000, ring_cap=5, model_error_share=0.5)
SPECS = [
    {"name": "amount", "kind": "passthrough", "field": "amount"},
    {"name": "count", "kind": "count", "window": "1s"},
    {"name": "mean", "kind": "mean", "field": "amount", "window": "5s"},
]


def _hundredths(features: Float64) -> Float64:
    return np.minimum(features[:, 0] / 100.0, 1.0)


@dataclass
class Linear:
    """Scores by the amount, so that the expected scores are obvious."""

    answer: Callable[[Float64], Float64] = _hundredths
    calls: list[int] = field(default_factory=list)
    feature_count: int = 3

    def scores(self, features: Float64) -> Float64:
        self.calls.append(len(features))
        return self.answer(features)

    def raw(self, features: Float64) -> Float64:
        return _hundredths(features)

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        return features - np.array([0.0, 0.0, 30.0]), 0.0


def model(predictor: Linear | None = None, on_error: Outcome = Outcome.REVIEW) -> Model:
    features = compile_features(SPECS, PLAN)
    return Model("m", "1.0.0", predictor or Linear(), features, Thresholds(0.5, 0.8), on_error)


def told(scored: Scored) -> list[Any]:
    """Return all results of a decided batch, as plain data."""
    d: DecisionBatch = scored.decisions
    return [
        d.events.records.to_pydict(), d.score.tobytes(), d.outcome.tolist(), d.flags.tolist(),
        d.features.tobytes(), d.reasons, d.model, d.version, d.arm, d.plan_revision, d.propensity,
        scored.accepted.tolist(), scored.rejections.rows.tolist(), scored.rejections.reasons,
        scored.rejections.details, scored.failed_rows, scored.failure,
    ]  # fmt: skip


def contents(rings: PartitionRings) -> list[Any]:
    return [
        (p, key, t.tolist(), a.tolist(), h.tolist())
        for p in rings.partitions()
        for key, t, a, h in rings.of(p).events()
    ]


rows = st.lists(
    st.builds(
        lambda number, customer, time, amount, currency: event(
            number, customer_id=customer, event_time=NOW + time, timestamp=NOW + time,
            amount_minor=amount, currency=currency, partition=ord(customer) % 4,
        ),
        st.integers(0, 40), st.sampled_from("abcdefg"), st.integers(0, 9_000),
        st.integers(-1, 12_000), st.sampled_from(["EUR", "EUR", "EUR", "USD"]),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=examples(60), deadline=None)
@given(before=rows, now=rows)
def test_the_same_batch_on_the_same_state_is_decided_the_same(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    results = []
    for _ in range(2):
        rings = PartitionRings(model().features)
        rings.release(score(batch(before), rings, PLAN, model()).journals)
        results.append((told(score(batch(now), rings, PLAN, model())), contents(rings)))
    assert results[0] == results[1]


@settings(max_examples=examples(60), deadline=None)
@given(before=rows, now=rows)
def test_an_undone_batch_leaves_no_trace(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    rings = PartitionRings(model().features)
    rings.release(score(batch(before), rings, PLAN, model()).journals)
    state = contents(rings)
    first = score(batch(now), rings, PLAN, model())
    rings.undo(first.journals)
    assert contents(rings) == state
    assert told(score(batch(now), rings, PLAN, model())) == told(first)


@settings(max_examples=examples(60), deadline=None)
@given(before=rows, now=rows)
def test_a_replay_leaves_the_same_state_as_deciding(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    decided, replayed = PartitionRings(model().features), PartitionRings(model().features)
    for part in (before, now):
        decided.release(score(batch(part), decided, PLAN, model()).journals)
        replayed.release(refold(batch(part), replayed, PLAN, model().features))
    assert contents(replayed) == contents(decided)
    assert told(score(batch(now), replayed, PLAN, model())) == told(
        score(batch(now), decided, PLAN, model())
    )


@settings(max_examples=examples(60), deadline=None)
@given(stream=rows, cut=st.integers(0, 30))
def test_features_do_not_depend_on_partitions_and_batches(
    stream: list[dict[str, Any]], cut: int
) -> None:
    def decided(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        rings = PartitionRings(model().features)
        found: list[tuple[Any, ...]] = []
        for part in (events[:cut], events[cut:]):
            scored = score(batch(part), rings, PLAN, model())
            rings.release(scored.journals)
            ids = scored.decisions.events.records.column("transaction_id").to_pylist()
            customers = scored.decisions.events.records.column("customer_id").to_pylist()
            d = scored.decisions
            values = zip(d.features.tolist(), d.score.tolist(), d.flags.tolist(), strict=True)
            found += zip(customers, ids, values, strict=True)
        return found

    four = decided(stream)
    one = decided([row | {"partition": 0} for row in stream])
    # The same customers in four partitions, polled partition by partition.
    apart = decided(sorted(stream, key=lambda row: int(row["partition"])))
    assert one == four
    by_customer = [sorted(found, key=lambda row: str(row[0])) for found in (four, apart)]
    assert by_customer[0] == by_customer[1]


def test_rejected_rows_skip_state_and_the_rest_is_in_order() -> None:
    good = [event(1), event(2, customer_id="d")]
    bad = [
        event(3, currency="USD"), event(4, amount_minor=-1), event(5, customer_id=""),
        event(6, timestamp=NOW - 10**9),
    ]  # fmt: skip
    mixed, alone = PartitionRings(model().features), PartitionRings(model().features)
    scored = score(batch([bad[0], good[0], bad[1], bad[2], good[1], bad[3]]), mixed, PLAN, model())
    score(batch(good), alone, PLAN, model())
    assert contents(mixed) == contents(alone)
    assert scored.accepted.tolist() == [1, 4]
    assert scored.rejections.rows.tolist() == [0, 2, 3, 5]
    assert [r.value for r in scored.rejections.reasons] == [
        "CURRENCY", "AMOUNT_NEGATIVE", "ID_EMPTY", "TIME_AHEAD",
    ]  # fmt: skip
    assert scored.decisions.events.offset.tolist() == [1, 4]


def test_duplicates_are_rejected_within_and_across_batches() -> None:
    rings = PartitionRings(model().features)
    first = score(batch([event(1), event(1, amount_minor=5)]), rings, PLAN, model())
    assert first.rejections.reasons == (RejectReason.DUPLICATE,)
    assert first.accepted.tolist() == [0]
    second = score(batch([event(1)]), rings, PLAN, model())
    assert second.rejections.reasons == (RejectReason.DUPLICATE,)
    assert len(second.decisions) == 0


def test_a_rejected_row_has_one_reason_even_as_a_duplicate() -> None:
    rings = PartitionRings(model().features)
    rows = [event(1), event(1, currency="USD")]
    assert score(batch(rows), rings, PLAN, model()).rejections.reasons == (RejectReason.CURRENCY,)


def test_late_and_capped_are_flagged() -> None:
    rings = PartitionRings(model().features)
    many = [event(n, event_time=NOW + n, timestamp=NOW) for n in range(6)]
    late = event(9, event_time=NOW - 2_000, timestamp=NOW)
    scored = score(batch([*many, late]), rings, PLAN, model())
    assert scored.decisions.flags.tolist() == [0] * 5 + [Flag.CAPPED, Flag.LATE]


def test_outcome_and_reasons_follow_score_and_attributions() -> None:
    rings = PartitionRings(model().features)
    rows = [
        event(n, customer_id=f"c{n}", amount_minor=a) for n, a in enumerate((1_000, 5_000, 9_000))
    ]
    decisions = score(batch(rows), rings, PLAN, model()).decisions
    assert [Outcome(o).name for o in decisions.outcome] == ["APPROVE", "REVIEW", "BLOCK"]
    assert decisions.reasons == {1: ("amount", "mean", "count"), 2: ("amount", "mean", "count")}


def test_a_batch_without_rows_is_decided_without_rows() -> None:
    predictor = Linear()
    scored = score(batch([]), PartitionRings(model().features), PLAN, model(predictor))
    assert (len(scored.decisions), len(scored.accepted), scored.journals) == (0, 0, {})


def test_stages_are_reported_in_order() -> None:
    laps: list[str] = []
    score(batch([event()]), PartitionRings(model().features), PLAN, model(), laps.append)
    assert laps == ["validate", "features", "score", "decide"]


# -- a model that fails ---------------------------------------------------------------------


def failing_above(limit: float) -> Callable[[Float64], Float64]:
    def answer(features: Float64) -> Float64:
        if (features[:, 0] > limit).any():
            raise RuntimeError("over the limit")
        return _hundredths(features)

    return answer


def different(count: int) -> list[dict[str, Any]]:
    return [event(n, customer_id=f"c{n}", amount_minor=100 * n) for n in range(count)]


@pytest.mark.parametrize("on_error", list(Outcome))
def test_one_bad_row_costs_only_itself(on_error: Outcome) -> None:
    predictor = Linear(failing_above(8.5))
    rings = PartitionRings(model().features)
    scored = score(batch(different(10)), rings, PLAN, model(predictor, on_error))
    assert predictor.calls == [10] + [1] * 10
    assert (scored.failed_rows, scored.failure) == (1, "RuntimeError: over the limit")
    assert np.isnan(scored.decisions.score[9])
    assert scored.decisions.score[:9].tolist() == [n / 100 for n in range(9)]
    assert scored.decisions.outcome.tolist() == [Outcome.APPROVE] * 9 + [on_error]
    assert scored.decisions.reasons == {9: ("MODEL_ERROR",)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-9, 1.0 + 1e-9])
def test_a_score_that_is_not_a_probability_is_a_failure(value: float) -> None:
    def answer(features: Float64) -> Float64:
        scores = _hundredths(features)
        scores[3] = value
        return scores

    scored = score(
        batch(different(10)), PartitionRings(model().features), PLAN, model(Linear(answer))
    )
    assert (scored.failed_rows, scored.failure) == (1, "the score is not a probability")
    assert scored.decisions.reasons == {3: ("MODEL_ERROR",)}


def test_a_model_that_fails_for_too_many_rows_leaves_no_trace() -> None:
    rings = PartitionRings(model().features)
    rings.release(score(batch(different(5)), rings, PLAN, model()).journals)
    before = contents(rings)
    many = batch([event(n, customer_id=f"d{n}", amount_minor=n) for n in range(400)])
    with pytest.raises(ModelFailure, match="the model failed for 201 rows: RuntimeError") as raised:
        score(many, rings, PLAN, model(Linear(failing_above(1.985))))
    assert raised.value.rows == 201
    assert contents(rings) == before
    # A share of exactly the limit is still decided.
    assert score(many, rings, PLAN, model(Linear(failing_above(1.99)))).failed_rows == 200


def test_one_bad_row_alone_in_its_batch_is_decided_too() -> None:
    # A quiet topic has batches of one record. A limit on the share would then stop it forever.
    scored = score(
        batch([event(amount_minor=9_000)]), PartitionRings(model().features), PLAN,
        model(Linear(failing_above(8.5))),
    )  # fmt: skip
    assert scored.decisions.reasons == {0: ("MODEL_ERROR",)}


def test_an_error_after_the_model_leaves_no_trace_either() -> None:
    rings = PartitionRings(model().features)

    def fail(stage: str) -> None:
        if stage == "decide":
            raise RuntimeError(stage)

    with pytest.raises(RuntimeError, match="decide"):
        score(batch([event()]), rings, PLAN, model(), fail)
    assert contents(rings) == []


# -- partitions -----------------------------------------------------------------------------


def test_a_dropped_partition_is_forgotten_with_its_journal() -> None:
    rings = PartitionRings(model().features)
    events: EventBatch = batch([event(1, partition=1), event(2, partition=3)])
    journals = score(events, rings, PLAN, model()).journals
    assert (rings.partitions(), sorted(journals)) == ((1, 3), [1, 3])
    rings.drop(3)
    rings.undo(journals)
    assert contents(rings) == []
    assert rings.partitions() == (1,)


def test_a_journal_of_dropped_rings_does_not_touch_new_ones() -> None:
    rings = PartitionRings(model().features)
    old = score(batch([event(1)]), rings, PLAN, model()).journals
    rings.drop(0)
    kept = score(batch([event(2, customer_id="other")]), rings, PLAN, model()).journals
    before = contents(rings)
    rings.undo(old)
    rings.release(old)
    assert contents(rings) == before
    rings.undo(kept)
    assert contents(rings) == []
