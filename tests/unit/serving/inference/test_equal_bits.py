"""A row has the core's bits in every form of a request, with any neighbours."""

import asyncio
import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model, answers, model_scores
from stream_scorer.core.decision.policy import RowPolicy
from stream_scorer.core.events.batch import Outcome
from stream_scorer.serving.inference.grpc_servicer import _GrpcBinding
from stream_scorer.serving.inference.json_requests import read_request
from stream_scorer.serving.web.messages import Response
from tests.support.effort import examples
from tests.support.models import random_models
from tests.support.serving.inference_calls import (
    NAMES,
    RestCalls,
    features_input,
    output,
    random_model,
    serving,
)
from tests.support.serving.inference_messages import (
    binary_outputs,
    binary_request,
    grpc_outputs,
    grpc_request,
)

Float64 = NDArray[np.float64]
ALL = [{"name": name} for name in ("score", "outcome", "reasons")]
PATH = "/v2/models/fraud/infer"


def expected_of(model: Model, rows: Float64) -> tuple[Float64, list[str], list[str]]:
    """Return what the core decides for rows that it is given one by one."""
    score, outcome, reasons = [], [], list[str]()
    policy = RowPolicy(model.thresholds, model.on_model_error)
    for number in range(len(rows)):
        row = rows[number : number + 1]
        made = answers(model, row, *model_scores(model.predictor, row)[:2], policy)
        score.append(made.score[0])
        outcome.append(Outcome(made.outcome[0]).name)
        codes = made.reasons.get(0, ())
        reasons += [*codes, *([""] * (3 - len(codes)))]
    return np.array(score), outcome, reasons


def same_bits(found: Any, expected: Float64) -> bool:
    """Return whether two arrays have the same bits; all missing values are the same."""
    numbers = np.array([np.nan if each is None else each for each in found], np.float64)
    return (numbers.view(np.int64) == expected.view(np.int64)).all() or bool(
        np.array_equal(np.isnan(numbers), np.isnan(expected))
        and (numbers[~np.isnan(numbers)].view(np.int64)
             == expected[~np.isnan(expected)].view(np.int64)).all()
    )  # fmt: skip


def rows_for(model: Model, seed: int, count: int) -> Float64:
    cuts = random_models.cuts_of(model.predictor.model)  # type: ignore[attr-defined]
    return random_models.rows_near(cuts, seed, count, len(NAMES))


@settings(max_examples=examples(60))
@given(seed=st.integers(0, 10_000), count=st.integers(1, 40))
def test_json_binary_and_grpc_have_the_bits_of_the_core(seed: int, count: int) -> None:
    model = random_model(seed)
    rows = rows_for(model, seed, count)
    score, outcome, reasons = expected_of(model, rows)
    with serving([model]) as rest:
        # JSON has no infinity.
        finite = np.where(np.isinf(rows), np.nan, rows)
        told = rest.infer({"inputs": [features_input(finite)], "outputs": ALL})
        want = expected_of(model, finite)
        assert same_bits(output(told, "score"), want[0])
        assert (output(told, "outcome"), output(told, "reasons")) == want[1:]

        for some in (finite, np.nan_to_num(finite)):
            inputs = [
                {**features_input(some[:, [at]]), "shape": [count], "name": name}
                for at, name in enumerate(NAMES)
            ]
            told = rest.infer({"inputs": inputs[seed % 7 :] + inputs[: seed % 7], "outputs": ALL})
            want = expected_of(model, some)
            assert same_bits(output(told, "score"), want[0])
            assert (output(told, "outcome"), output(told, "reasons")) == want[1:]

        body, length = binary_request(
            {"features": rows}, {"features": "FP64"},
            outputs=ALL, parameters={"binary_data_output": True},
        )  # fmt: skip
        answer = binary_outputs(rest("POST", PATH, body, inference_header_content_length=length))
        assert same_bits(answer["score"], score)
        assert (answer["outcome"], answer["reasons"]) == (outcome, reasons)

        columns = {name: np.ascontiguousarray(rows[:, at]) for at, name in enumerate(NAMES)}
        body, length = binary_request(columns, dict.fromkeys(NAMES, "FP64"))
        told = rest("POST", PATH, body, inference_header_content_length=length)
        # Without reasons, the core is asked for less, and decides the same.
        assert same_bits(output(told, "score"), score)
        assert output(told, "outcome") == outcome

        for raw in (True, False):
            request = grpc_request(rows, raw=raw, outputs=ALL)
            response = rest.runner.run(_GrpcBinding(rest.service).infer(request, None))
            found = grpc_outputs(response)
            assert same_bits(found["score"], score)
            assert (found["outcome"], found["reasons"]) == (outcome, reasons)


@settings(max_examples=examples(40))
@given(
    seed=st.integers(0, 10_000),
    parts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    rows_max=st.integers(9, 30),
    data=st.data(),
)
def test_joined_requests_have_the_bits_of_the_core(
    seed: int, parts: list[int], rows_max: int, data: st.DataObject
) -> None:
    model = random_model(seed)
    rows = rows_for(model, seed, sum(parts))
    rows = np.where(np.isinf(rows), np.nan, rows)
    score, outcome, reasons = expected_of(model, rows)
    edges = np.concatenate([[0], np.cumsum(parts)]).tolist()
    explained = [data.draw(st.booleans()) for _ in parts]

    async def ask(rest: RestCalls, part: int) -> Response:
        mine = rows[edges[part] : edges[part + 1]]
        request = {"inputs": [features_input(mine)]}
        if explained[part]:
            request["outputs"] = ALL
        return await rest.call("POST", PATH, json.dumps(request).encode())

    async def ask_all(rest: RestCalls) -> list[Response]:
        return await asyncio.gather(*(ask(rest, part) for part in range(len(parts))))

    with serving([model], rows_max=rows_max) as rest:
        # No request is quick, so that those that arrive during the first batch are joined.
        (batcher,) = rest.service._batchers.values()
        batcher._inline_seconds = 0.0
        answered = rest.runner.run(ask_all(rest))
    for part, answer in enumerate(answered):
        begin, end = edges[part], edges[part + 1]
        assert same_bits(output(answer, "score"), score[begin:end])
        assert output(answer, "outcome") == outcome[begin:end]
        if explained[part]:
            assert output(answer, "reasons") == reasons[3 * begin : 3 * end]


def test_every_data_type_of_the_same_numbers_is_the_same() -> None:
    model = random_model(5)
    rows = np.array([[0, 1, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1, 1]])
    score, outcome, _ = expected_of(model, rows.astype(np.float64))
    stored = {
        "BOOL": "|u1", "UINT8": "|u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
        "INT8": "|i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2",
        "FP32": "<f4", "FP64": "<f8",
    }  # fmt: skip
    with serving([model]) as rest:
        for kind, each in stored.items():
            body, length = binary_request({"features": rows.astype(each)}, {"features": kind})
            told = [rest("POST", PATH, body, inference_header_content_length=length)]
            data = rows.astype(bool).tolist() if kind == "BOOL" else rows.tolist()
            tensor = {"name": "features", "shape": [2, 7], "datatype": kind, "data": data}
            told.append(rest.infer({"inputs": [tensor]}))
            for answer in told:
                assert same_bits(output(answer, "score"), score), kind
                assert output(answer, "outcome") == outcome


def test_bfloat16_is_read_as_the_upper_half_of_a_float32() -> None:
    model = random_model(5)
    rows = np.array([[0.5, -1.0, 1.5, 3e38, np.inf, np.nan, -0.0]], np.float32)
    halves = (rows.view(np.uint32) >> 16).astype("<u2")
    read = (halves.astype(np.uint32) << 16).view(np.float32)
    with serving([model]) as rest:
        body, length = binary_request({"features": halves}, {"features": "BF16"})
        told = rest("POST", PATH, body, inference_header_content_length=length)
        assert same_bits(output(told, "score"), expected_of(model, read.astype(np.float64))[0])


def test_a_fraction_in_json_is_rounded_to_its_data_type() -> None:
    # What a client that sends binary data has done before it sends.
    rows = np.array([[0.1, 1 / 3, 1e-7, 65.4321, -2.7, 5e-8, 1e-30]])
    with serving([random_model(8)]) as rest:
        for kind, stored in (("FP16", "<f2"), ("FP32", "<f4")):
            body, length = binary_request({"features": rows.astype(stored)}, {"features": kind})
            binary = rest("POST", PATH, body, inference_header_content_length=length)
            tensor = {**features_input(rows), "datatype": kind}
            assert rest.infer({"inputs": [tensor]}).body == binary.body
        # The data types' own rounding is not that of the core's rows.
        read = rest.service.find("fraud", None).inputs
        for kind, stored in (("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8")):
            request = json.dumps({"inputs": [{**features_input(rows), "datatype": kind}]})
            found = read_request(request.encode(), None, read).rows
            assert found.tobytes() == rows.astype(stored).astype(np.float64).tobytes()
