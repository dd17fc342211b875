"""An image's policy gives the thresholds and outcomes that the stream's policy gives."""

import contextlib
import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.decision.policy import RowThresholds, Thresholds, decide, policy_for
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.edge.export.policy_image import policy_image
from stream_scorer.edge.export.table_image import image_of
from stream_scorer.edge.native.portable import ImageScorer
from stream_scorer.models.predictors.parts import LinearWeights, Part, ScoringModel
from tests.support.core.events import batch, event
from tests.support.effort import examples

OWN = Thresholds(0.45, 0.85)
VALUES: dict[str, list[str | None]] = {
    "channel": ["ECOM", "POS", "OTHER"], "mcc": ["7995", "é", None], "country": ["FR", "DE", None],
}  # fmt: skip
AMOUNTS = [0, 499, 500, 501, 99_999, 10**12]
ROWS: list[dict[str, Any]] = [
    dict(zip((*VALUES, "amount_minor"), values, strict=True))
    for values in itertools.product(*VALUES.values(), AMOUNTS)
]
EVENTS = batch([event(number, **row) for number, row in enumerate(ROWS)])
SCORES = np.linspace(0, 1, len(ROWS))
NAMED = ["ECOM", "7995", "é", "FR", "DE"]
WHEN = st.dictionaries(
    st.sampled_from(list(VALUES)), st.lists(st.sampled_from(NAMED), min_size=1, unique=True)
).flatmap(
    lambda values: st.fixed_dictionaries(
        {},
        optional={
            "amount_above": st.sampled_from([0, 4.99, 5, 999.99]),
            "amount_below": st.sampled_from([4.99, 5.01, 10_000_000_000]),
        },
    ).map(lambda amounts: values | amounts)
)
LIMITS = st.sampled_from([(r, b) for r in (0.1, 0.2, 0.4) for b in (0.4, 0.7, 1.0)])
TABLES = st.fixed_dictionaries(
    {
        "segment": st.lists(
            st.tuples(WHEN.filter(bool), LIMITS).map(
                lambda pair: {"when": pair[0], "review": pair[1][0], "block": pair[1][1]}
            ),
            max_size=6,
        )
    },
    optional={
        "default": LIMITS.map(lambda limits: {"review": limits[0], "block": limits[1]}),
        "on_model_error": st.sampled_from(["APPROVE", "BLOCK"]),
    },
)
# The score is the row's only feature.
IDENTITY = ScoringModel((Part((), LinearWeights(np.ones(1), 0.0, np.zeros(1))),), 1)


@given(table=TABLES)
@settings(max_examples=examples(300))
def test_thresholds_and_outcomes_are_the_streams(table: dict[str, Any]) -> None:
    plan = Plan()
    with contextlib.suppress(ValueError):  # such as a segment that never counts
        plan = Plan(policy=table)
    image = policy_image(plan, OWN, Outcome.REVIEW)
    want = policy_for(EVENTS, plan, OWN, Outcome.REVIEW)
    scorer = ImageScorer(image_of(IDENTITY, image, ("score",)))
    values = [[row[name] for row in ROWS] for name in scorer.policy_fields]
    amounts = np.array([row["amount_minor"] for row in ROWS], np.int64)
    found = scorer.decide(SCORES[:, None], amounts, values)
    assert found.outcome.tolist() == decide(SCORES, want.thresholds).tolist()
    assert found.model_outcome.tolist() == decide(SCORES, OWN).tolist()
    limits = image.limits[np.where(found.segment < 0, len(image.limits) - 2, found.segment)]
    both = want.thresholds
    if isinstance(both, RowThresholds):
        assert limits.tolist() == np.column_stack([both.review, both.block]).tolist()
    else:
        assert {tuple(each) for each in limits.tolist()} == {(both.review, both.block)}
    failed = scorer.decide(np.full((1, 1), np.nan), amounts[:1], [v[:1] for v in values])
    assert failed.outcome.tolist() == [int(want.on_model_error)]
