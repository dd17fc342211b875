"""Requests that arrive while a batch is computed are joined; requests in flight are bounded."""

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.serving.inference.refusals import InferenceRefused
from stream_scorer.serving.inference.service import ConcurrencyLimit
from stream_scorer.serving.web.messages import Response
from stream_scorer.telemetry import ModelFailed
from tests.support.serving.inference_calls import (
    NAMES,
    RestCalls,
    features_input,
    model_with,
    output,
    refused,
    serving,
)

Float64 = NDArray[np.float64]


class GatedPredictor:
    """Scores a row by its first feature; each batch waits until the test lets it go.

    Attributes:
        batches: Rows of each batch that was begun, once ``gated`` is set.
        begun: Released by each batch that begins.
    """

    feature_count = len(NAMES)

    def __init__(self) -> None:
        self.gated = False
        self.failing = False
        self.batches: list[int] = []
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.threads: set[int] = set()

    def scores(self, features: Float64) -> Float64:
        if self.gated:
            self.batches.append(len(features))
            self.threads.add(threading.get_ident())
            self.begun.release()
            assert self.allowed.acquire(timeout=30)
        if self.failing:
            raise MemoryError
        return features[:, 0].copy()

    def raw(self, features: Float64) -> Float64:
        return features[:, 0].copy()

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        return np.zeros(features.shape), 0.0


def body(*values: float) -> bytes:
    rows = np.zeros((len(values), len(NAMES)))
    rows[:, 0] = values
    return json.dumps({"inputs": [features_input(rows)]}).encode()


def ask(rest: RestCalls, *values: float) -> "asyncio.Task[Response]":
    return asyncio.ensure_future(rest.call("POST", "/v2/models/fraud/infer", body(*values)))


async def begun(predictor: GatedPredictor) -> None:
    assert await asyncio.to_thread(predictor.begun.acquire, timeout=30)


async def settled() -> None:
    """Let every task that can run go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_requests_of_a_running_batch_are_joined_into_the_next() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls) -> list[Any]:
        (batcher,) = rest.service._batchers.values()
        batcher._inline_seconds = 0.0
        predictor.gated = True
        first = ask(rest, 0.1)
        await begun(predictor)
        rest_of_them = [ask(rest, 0.2, 0.3), ask(rest, 0.4), ask(rest, 0.5, 0.6, 0.7)]
        gone = ask(rest, 0.8)
        await settled()
        gone.cancel()
        for _ in range(3):
            predictor.allowed.release()
        return [output(answer, "score") for answer in await asyncio.gather(first, *rest_of_them)]

    with serving([model_with(predictor)], rows_max=4) as rest:
        scores = rest.runner.run(scene(rest))
        assert rest.service.admission.in_flight == 0
    assert scores == [[0.1], [0.2, 0.3], [0.4], [0.5, 0.6, 0.7]]
    # The lone request did not wait, 2 + 1 rows were joined, 3 more did not fit into 4, and the
    # rows of the client that left were not computed.
    assert predictor.batches == [1, 3, 3]
    assert threading.get_ident() not in predictor.threads


def test_a_quick_request_is_computed_on_the_event_loop() -> None:
    predictor = GatedPredictor()
    with serving([model_with(predictor)]) as rest:
        model = rest.service.find("fraud", None)
        model._row_seconds = model._fixed_seconds = 0.0
        predictor.gated = True
        predictor.allowed.release()
        answer = rest("POST", "/v2/models/fraud/infer", body(0.25))
        assert output(answer, "score") == [0.25]
        assert predictor.threads == {threading.get_ident()}


def test_a_quick_request_does_not_wait_for_a_slow_one() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls) -> Response:
        model = rest.service.find("fraud", None)
        model._row_seconds, model._fixed_seconds = 50e-6, 0.0
        predictor.gated = True
        slow = ask(rest, *[0.5] * 100)
        await begun(predictor)
        predictor.gated = False
        quick = await ask(rest, 0.1)
        assert not slow.done()
        predictor.allowed.release()
        await slow
        return quick

    with serving([model_with(predictor)]) as rest:
        assert output(rest.runner.run(scene(rest)), "score") == [0.1]


def test_more_requests_at_a_time_are_refused_immediately() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls) -> list[Response]:
        (batcher,) = rest.service._batchers.values()
        batcher._inline_seconds = 0.0
        predictor.gated = True
        asked = [ask(rest, 0.1) for _ in range(5)]
        await begun(predictor)
        await settled()
        # Two are refused although no batch is finished.
        early = [each for each in asked if each.done()]
        assert len(early) == 2
        predictor.allowed.release(2)
        await asyncio.gather(*asked)
        assert rest.service.admission.in_flight == 0
        return [each.result() for each in early] + [await ask(rest, 0.1)]

    with serving([model_with(predictor)], concurrent=3) as rest:
        *early, later = rest.runner.run(scene(rest))
    for answer in early:
        assert answer.status == 503
        assert answer.headers == (("retry-after", "1"),)
        assert json.loads(answer.body) == {"error": "too many requests at the same time"}
    assert output(later, "score") == [0.1]


def test_quick_requests_that_arrive_together_are_bounded_too() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls) -> list[int]:
        return [each.status for each in await asyncio.gather(*(ask(rest, 0.1) for _ in range(9)))]

    with serving([model_with(predictor)], concurrent=4) as rest:
        assert rest.runner.run(scene(rest)) == [200] * 4 + [503] * 5
        assert rest.runner.run(scene(rest)) == [200] * 4 + [503] * 5


def test_a_row_for_which_the_model_fails_has_no_score() -> None:
    predictor = GatedPredictor()
    with serving([model_with(predictor)]) as rest:
        request = {"inputs": [features_input(np.array([[0.2] * 7, [7.0] * 7, [0.9] * 7]))]}
        request["outputs"] = [{"name": name} for name in ("score", "outcome", "reasons")]
        answer = rest.infer(request)
        assert output(answer, "score") == [0.2, None, 0.9]
        assert output(answer, "outcome") == ["APPROVE", "REVIEW", "BLOCK"]
        assert output(answer, "reasons")[3:6] == ["MODEL_ERROR", "", ""]
        assert rest.events == [ModelFailed("fraud", "1.2.3", 1, "the score is not a probability")]
        predictor.failing = True
        answer = rest.infer(request)
        assert rest.events[1:] == [ModelFailed("fraud", "1.2.3", 3, "MemoryError: ")]
        assert output(answer, "score") == [None] * 3
        assert output(answer, "outcome") == ["REVIEW"] * 3


def test_failures_of_joined_requests_are_reported_once() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls) -> list[Any]:
        (batcher,) = rest.service._batchers.values()
        batcher._inline_seconds = 0.0
        answers = await asyncio.gather(ask(rest, 0.1, 7.0), ask(rest, -1.0), ask(rest, 0.2))
        return [output(answer, "score") for answer in answers]

    with serving([model_with(predictor)]) as rest:
        assert rest.runner.run(scene(rest)) == [[0.1, None], [None], [0.2]]
        assert rest.events == [ModelFailed("fraud", "1.2.3", 2, "the score is not a probability")]


def test_an_unexpected_error_reaches_each_request_of_the_batch() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls, model: Any) -> list[Any]:
        (batcher,) = rest.service._batchers.values()
        batcher._inline_seconds = 0.0
        model.compute = failing
        asked = [ask(rest, 0.1), ask(rest, 0.2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    def failing(rows: Float64, *, explain: bool) -> None:
        raise ZeroDivisionError(len(rows))

    with serving([model_with(predictor)]) as rest:
        found = rest.runner.run(scene(rest, rest.service.find("fraud", None)))
        assert [repr(each) for each in found] == ["ZeroDivisionError(2)"] * 2
        assert rest.service.admission.in_flight == 0


def test_leaving_the_service_finishes_what_it_has_begun() -> None:
    predictor = GatedPredictor()

    async def scene(rest: RestCalls) -> list[Response]:
        (batcher,) = rest.service._batchers.values()
        batcher._inline_seconds = 0.0
        predictor.gated = True
        asked = [ask(rest, 0.1)]
        await begun(predictor)
        asked.append(ask(rest, 0.2))
        await settled()
        leaving = asyncio.ensure_future(rest.service.__aexit__(None, None, None))
        await settled()
        late = await ask(rest, 0.3)
        assert late.status == 503
        assert not leaving.done()
        predictor.allowed.release(2)
        await leaving
        return [await each for each in asked]

    with serving([model_with(predictor)]) as rest:
        told = rest.runner.run(scene(rest))
        assert [output(each, "score") for each in told] == [[0.1], [0.2]]


def test_a_request_of_too_many_rows_is_refused() -> None:
    with serving([model_with(GatedPredictor())], rows_max=3) as rest:
        answer = rest("POST", "/v2/models/fraud/infer", body(*[0.1] * 4))
        assert refused(answer) == "input 'features': a request has 1 to 3 rows"
        assert len(output(rest("POST", "/v2/models/fraud/infer", body(*[0.1] * 3)), "score")) == 3


def test_admission_counts_also_after_errors() -> None:
    admission = ConcurrencyLimit(1)
    with pytest.raises(InferenceRefused, match="not ready"), admission:
        pass
    admission.open = True
    for _ in range(3):
        with pytest.raises(KeyError), admission:
            raise KeyError
    with admission, pytest.raises(InferenceRefused, match="too many"), admission:
        pass
    assert admission.in_flight == 0
