"""The draws in decisions: who is let through, what the record says, and what stays the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.writing.encode import DecisionEncoder
from stream_scorer.codec.writing.shadow_scores import ShadowEncoder
from stream_scorer.core.decision.decide_batch import DecidedBatch, decide_batch
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.decision.routing import CANARY, CHAMPION, CONTROL, Routing
from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome
from stream_scorer.core.exploring.draws import Draws
from stream_scorer.core.summaries.summaries import outcome_counts
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.core.events import batch, event
from tests.unit.core.decision.test_decide_batch import NEW, OLD, PLAN, models, routing
from tests.unit.core.exploring.test_draws import KEY, OTHER, explore, review

FILES = FileRegistry(SCHEMAS_DIRECTORY)
P = 0.3
EXPLORING = replace(
    PLAN,
    label_policy={"unlabelled": "genuine"},
    explore={**explore(), "bands": [{"from": 0.01, "p": P}], "max_amount": 80.0},
)
EVENTS = batch(
    [event(n, customer_id=f"c{n % 400}", amount_minor=100 * (n % 90)) for n in range(800)]
)


def decided(plan: Any, draws: Draws | None, buckets: int = 0, **other: Any) -> DecidedBatch:
    made: Routing = replace(routing(buckets), shared=plan, **other)
    rings = PartitionRings(models()[OLD].features)
    return decide_batch(EVENTS, rings, made, models(), draws=draws)


def whole(scored: DecidedBatch) -> DecisionBatch:
    (part,) = scored.decided
    return part.decisions


def test_some_would_be_blocks_are_approved_with_their_reasons() -> None:
    plain = whole(decided(EXPLORING, None))
    found = whole(decided(EXPLORING, Draws(KEY)))
    block = plain.outcome == Outcome.BLOCK
    through = (found.flags & Flag.LET_THROUGH) > 0
    assert 0 < through.sum() < block.sum()
    assert not (through & ~block).any()
    assert (found.outcome[through] == Outcome.APPROVE).all()
    assert (found.outcome[~through] == plain.outcome[~through]).all()
    assert found.by_policy.tolist() == plain.outcome.tolist()
    assert found.own_outcome.tolist() == plain.own_outcome.tolist()
    assert found.reasons == plain.reasons
    inside = block & (EVENTS.amounts <= 8_000)
    assert not (through & ~inside).any()
    expected = np.where(through, P, np.where(inside, 1 - P, 1.0))
    assert found.chance.tolist() == expected.tolist()
    taken = found.take(np.flatnonzero(through))
    assert (taken.by_policy == Outcome.BLOCK).all()
    assert (taken.chance == P).all()
    assert outcome_counts(taken)["APPROVE"] == len(taken)


def test_without_the_tables_nothing_changes() -> None:
    plain, found = whole(decided(PLAN, None)), whole(decided(PLAN, Draws(KEY, OTHER)))
    assert (found.flags == plain.flags).all()
    assert (found.policy_outcome, found.outcome_propensity) == (None, None)
    assert found.review_propensity == 0.0


def test_a_customer_is_drawn_alike_in_every_arm() -> None:
    def drawn(scored: DecidedBatch) -> dict[int, bool]:
        return {
            int(offset): bool(flags & Flag.LET_THROUGH)
            for part in scored.decided
            for offset, flags, outcome in zip(
                part.decisions.events.offset, part.decisions.flags, part.decisions.by_policy,
                strict=True,
            )
            if outcome == Outcome.BLOCK
        }  # fmt: skip

    # The same version in all arms, so that only the arm differs.
    versions = dict.fromkeys((CHAMPION, CONTROL, CANARY), OLD)
    alone = drawn(decided(EXPLORING, Draws(KEY)))
    arms = drawn(decided(EXPLORING, Draws(KEY), 3_000, versions=versions))
    assert alone == arms
    assert len(set(alone.values())) == 2


def test_a_share_is_drawn_for_review_whatever_the_score() -> None:
    plan = replace(PLAN, review_sample={**review(OTHER), "p": 0.25})
    found = whole(decided(plan, Draws(None, OTHER)))
    drawn = (found.flags & Flag.DRAWN) > 0
    assert 140 < drawn.sum() < 260
    assert {*found.outcome[drawn]} == {*found.outcome}
    assert found.review_propensity == 0.25
    assert found.policy_outcome is None


def test_a_process_without_the_key_decides_nothing() -> None:
    with pytest.raises(ValueError, match=r"explore: needs the key .*scorer\.explore_key_file"):
        decided(EXPLORING, Draws())


def test_records_have_the_policys_outcome_and_probability() -> None:
    text = reader_schema("decision.v3")
    plan = replace(EXPLORING, review_sample=review(OTHER))
    found = whole(decided(plan, Draws(KEY, OTHER)))
    encoder = DecisionEncoder(FILES.id_for("decisions-value", text), text, "transactions")
    codec = RecordCodec(1, text)
    records = [codec.decode(value or b"", FILES) for value in encoder.encode(found, 5)]
    names = [outcome.name for outcome in Outcome]
    assert [r["policy_outcome"] for r in records] == [names[o] for o in found.by_policy]
    assert [r["decision"] for r in records] == [names[o] for o in found.outcome]
    assert [r["outcome_propensity"] for r in records] == found.chance.tolist()
    assert {r["review_propensity"] for r in records} == {0.05}
    let = [r for r in records if "let_through" in r["flags"]]
    assert let
    assert all(r["reasons"] for r in let)
    # The schema of files has no such fields.
    two = reader_schema("decision.v2")
    older = DecisionEncoder(None, two, "transactions")
    assert len(older.encode(found, 5)) == len(records)


def test_a_shadow_knows_what_was_published_and_why() -> None:
    versions = {CHAMPION: OLD, CONTROL: OLD, CANARY: NEW, "next": NEW}
    scored = decided(EXPLORING, Draws(KEY), versions=versions, shadows=("next",))
    (shadowed,) = scored.shadowed
    decisions = whole(scored)
    assert shadowed.decided_outcome.tolist() == decisions.outcome.tolist()
    assert shadowed.decided_policy.tolist() == decisions.by_policy.tolist()
    assert shadowed.decided_chance.tolist() == decisions.chance.tolist()
    assert (shadowed.outcome == Outcome.BLOCK).any()
    text = reader_schema("shadow-score.v2")
    id_ = FILES.id_for("shadow-scores-value", text)
    values = ShadowEncoder(id_, text, "transactions").encode(shadowed)
    records = [RecordCodec(id_, text).decode(value or b"", FILES) for value in values]
    let = [r for r in records if r["champion_policy_outcome"] != r["champion_decision"]]
    assert let
    assert {r["outcome_propensity"] for r in let} == {P}
