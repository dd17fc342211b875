"""Decisions with a failed model are reproduced, with the champion as the fallback or no score."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream_scorer.ports import Float64
from stream_scorer.reproduce.run import Question, reproduce
from stream_scorer.settings import Kafka, Models, Settings
from tests.faults.test_rollout import FOLLOW, RECORDS, Breaks, models, planned, with_predictor
from tests.support.faults.reference_run import everything_once, feed, scored
from tests.support.reproduce.retelling import DEPTHS, EVER, silent

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

__all__ = ["models"]


@pytest.mark.parametrize(
    ("version", "limit", "given"),
    [("1.2.0", 60.0, "fallback"), ("1.0.0", 150.0, "MODEL_ERROR")],
)
def test_what_a_model_failed_for_is_taken_as_given(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    limit: float,
    given: str,
) -> None:
    breaks = Breaks()

    def not_above(real: Any, features: Float64) -> Float64:
        if breaks.broken and (features[:, 0] > limit).any():
            raise ValueError("no such amount")
        return np.asarray(real.scores(features))

    with_predictor(monkeypatch, version, not_above)
    kafka = kafka_topics(kafka_settings())
    ends = feed(kafka, RECORDS)
    planned(kafka)
    found, _ = scored(kafka, ends, told=breaks, batch=200, deployment=FOLLOW, models=models)
    everything_once(found, RECORDS)
    flagged = [d for d in found.decisions.values() if given in (*d["flags"], *d["reasons"])]
    assert flagged
    # The models work again, and recompute all other decisions.
    for depth in DEPTHS:
        told = reproduce(
            Settings(kafka=kafka, models=models), Question(depth, first_ms=EVER), silent
        )
        told.refuse()
        assert told.equal == told.chosen == len(found.decisions)
        assert told.given == {given: len(flagged)}
