"""One row takes a short way: its answer is that of the way for all requests, byte for byte."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.models import random_models
from tests.support.serving.inference_calls import (
    NAMES,
    RestCalls,
    features_input,
    model_with,
    refused,
    serving,
)

Float64 = NDArray[np.float64]
ROW = np.arange(float(len(NAMES)))[None]
LONG = {"outputs": [{"name": "score"}, {"name": "outcome"}]}


class Scripted(ScoringPredictor):
    """Gives the same score to each row, or raises."""

    score: float | None = 0.5

    def scores(self, features: Float64) -> Float64:
        if self.score is None:
            raise ValueError("no score")
        return np.full(len(features), self.score)


def scripted(score: float | None) -> Model:
    predictor = Scripted(random_models.model(1, len(NAMES)))
    predictor.score = score
    return model_with(predictor)


def asked(rest: RestCalls, **more: Any) -> bytes:
    response = rest.infer({"inputs": [features_input(ROW)], **more})
    assert response.status == 200
    return response.body


@pytest.mark.parametrize(
    ("score", "outcome"),
    [
        (0.0, "APPROVE"), (0.29, "APPROVE"), (0.3, "REVIEW"), (0.69, "REVIEW"), (0.7, "BLOCK"),
        (1.0, "BLOCK"), (5e-324, "APPROVE"), (None, "REVIEW"), (float("nan"), "REVIEW"),
        (1.5, "REVIEW"), (-0.1, "REVIEW"),
    ],
)  # fmt: skip
def test_both_ways_give_the_same_answer(score: float | None, outcome: str) -> None:
    with serving([scripted(score)]) as rest:
        short = asked(rest)
        assert short == asked(rest, **LONG)
        expected = score if score is not None and 0.0 <= score <= 1.0 else None
        assert [each["data"] for each in json.loads(short)["outputs"]] == [[expected], [outcome]]
        assert asked(rest, id='a"[null]') == asked(rest, id='a"[null]', **LONG)


@pytest.mark.parametrize("data", [[1.0] * 6, [[1.0] * 7], [1, None, 3, 4, 5, 6, 7], ["a"] * 7])
def test_what_the_short_way_does_not_take_goes_the_long_way(data: list[Any]) -> None:
    tensor = {"name": "features", "shape": [1, 7], "datatype": "FP64", "data": data}
    with serving([scripted(0.2)]) as rest:
        short = rest.infer({"inputs": [tensor]})
        explained = rest.infer({"inputs": [{**tensor, "parameters": {"any": 1}}]})
        assert (short.status, short.body) == (explained.status, explained.body)
        assert (short.status == 200) == (data in ([[1.0] * 7], [1, None, 3, 4, 5, 6, 7]))


def test_a_shape_is_judged_before_its_data() -> None:
    tensor = {"name": "features", "shape": [10**12, 7], "datatype": "FP64", "data": [1.0]}
    with serving([scripted(0.2)]) as rest:
        assert "a request has 1 to" in refused(rest.infer({"inputs": [tensor]}))


@pytest.mark.parametrize(
    ("in_flight", "rounds"), [(1, 0), (4, 0), (5, 1), (100, 1), (0, 1)]
)  # fmt: skip
def test_only_more_requests_than_the_limit_take_another_round(in_flight: int, rounds: int) -> None:
    body = json.dumps({"inputs": [features_input(ROW)]}).encode()
    with serving([scripted(0.2)], concurrent=4) as rest:
        handler, request = rest.request("POST", "/v2/models/fraud/infer", body)
        # The model is asked on the event loop, so nothing else is awaited.
        answer: Any = handler(msgspec.structs.replace(request, in_flight=in_flight))
        for _ in range(rounds):
            assert answer.send(None) is None
        with pytest.raises(StopIteration) as ended:
            answer.send(None)
        assert ended.value.value.status == 200
