"""Hostile inference requests: each is a 400 in the protocol's form, and harms no other request."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.effort import examples
from tests.support.hostile.inference_bodies import (
    BYTES,
    DATA_ERRORS,
    FORM_ERRORS,
    GOOD,
    LIES,
    raw,
    sized,
    text,
)
from tests.support.serving.inference_calls import (
    RestCalls,
    output,
    random_model,
    refused,
    serving,
)

PATH = "/v2/models/fraud/infer"


@pytest.fixture(scope="module")
def rest() -> Iterator[RestCalls]:
    with serving([random_model(3)], rows_max=100) as calls:
        yield calls


@pytest.fixture(autouse=True)
def unharmed(rest: RestCalls) -> Iterator[None]:
    """After each test, a valid request has its answer."""
    yield
    assert len(output(rest.infer({"inputs": [GOOD]}), "score")) == 2
    assert rest.service.admission.in_flight == 0


@pytest.mark.parametrize(
    ("body", "message"), [*DATA_ERRORS.values(), *FORM_ERRORS.values()],
    ids=[*DATA_ERRORS, *FORM_ERRORS],
)  # fmt: skip
def test_a_hostile_json_request_is_refused(rest: RestCalls, body: bytes, message: str) -> None:
    told = refused(rest("POST", PATH, body))
    assert message in told
    assert len(told) < 300
    assert told.isprintable()
    assert told.isascii()


@pytest.mark.parametrize(("body", "data", "header", "message"), LIES.values(), ids=list(LIES))
def test_binary_data_that_lies_is_refused(
    rest: RestCalls, body: bytes, data: bytes, header: str | None, message: str
) -> None:
    length = str(len(body)) if header is None else header
    told = refused(rest("POST", PATH, body + data, inference_header_content_length=length))
    assert message in told
    assert told.isprintable()


def test_a_size_without_the_header_is_refused(rest: RestCalls) -> None:
    # "If any binary data is present in the request or response the Inference-Header-Content-Length
    # header must be provided to give the length of the JSON object".
    assert "beyond the body" in refused(rest("POST", PATH, sized(112)))
    assert "not valid" in refused(rest("POST", PATH, sized(112) + BYTES))


def test_a_compressed_body_is_refused(rest: RestCalls) -> None:
    assert "compressed" in refused(rest("POST", PATH, text(), content_encoding="gzip"))
    assert rest("POST", PATH, text(), content_encoding="identity").status == 200


def test_extreme_numbers_are_answered(rest: RestCalls) -> None:
    for data in ("[5e-324,-0.0,1.7976931348623157e308,0,0,0,0]", "[1e-400,-0,0,0,0,0,0]"):
        assert rest("POST", PATH, raw(data)).status == 200
    huge = np.array([[np.inf, -np.inf, np.nan, 0, 0, 0, 0]]).tobytes()
    body = sized(56, shape=[1, 7])
    answer = rest("POST", PATH, body + huge, inference_header_content_length=str(len(body)))
    assert answer.status == 200


@settings(max_examples=examples(400))
@given(data=st.data(), binary=st.booleans())
def test_changed_bytes_are_answered_or_refused(
    rest: RestCalls, data: st.DataObject, *, binary: bool
) -> None:
    head = sized(112) if binary else text()
    body = bytearray(head + BYTES if binary else head)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["set", "drop", "copy"]))
        if kind == "set":
            body[at] = data.draw(st.integers(0, 255))
        elif kind == "drop":
            del body[at : at + data.draw(st.integers(1, 9))]
        else:
            body[at:at] = body[at : at + data.draw(st.integers(1, 9))]
        if not body:
            break
    headers = {"inference_header_content_length": str(len(head))} if binary else {}
    answer = rest("POST", PATH, bytes(body), **headers)
    if answer.status != 200:
        assert refused(answer).isprintable()
