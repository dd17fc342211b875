"""JSON of requests: limits, and problems with a position but nothing of the body."""

import json
import time
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.serving.web.json_body import LEVELS_MOST, read_json, read_typed
from stream_scorer.serving.web.problems import Problem


def refusal(body: bytes, *, unique_keys: bool = False) -> Problem:
    with pytest.raises(Problem) as refused:
        read_json(body, unique_keys=unique_keys)
    return refused.value


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "too early"),
        (b'{"a"', "too early"),
        (b"NaN", "byte 0"),
        (b"[1, Infinity]", "byte 4"),
        (b"-Infinity", "byte"),
        (b"{} x", "byte "),
        (b"{}{}", "byte "),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b"'a'", "byte 0"),
        (b"[1,]", "byte 3"),
        (b"01", "byte"),
        (b'"\x01"', "byte 1"),
        (b'"\xff"', "UTF-8 at byte 1"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8 at byte 6"),
        (b'"\\ud800"', "escape"),
        (b'"\\udc00"', ""),
        (b'"\\x"', ""),
        (b"// a\n1", "byte 0"),
    ],
)
def test_what_is_not_json_is_refused(body: bytes, place: str) -> None:
    problem = refusal(body)
    assert (problem.status, problem.kind) == (400, "malformed-json")
    assert place in problem.detail


@pytest.mark.parametrize("body", [b"1e999", b"[1e400]", b"1" * 5_000])
def test_a_number_that_no_type_holds_is_refused(body: bytes) -> None:
    assert refusal(body).kind == "invalid-body"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_the_limit_of_levels_is_exact(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"

    def nested(levels: int) -> bytes:
        return opening * levels + b"0" + closing * levels

    read_json(nested(LEVELS_MOST))
    assert "64 levels" in refusal(nested(LEVELS_MOST + 1)).detail
    assert "64 levels" in refusal(nested(500_000)).detail


def test_many_arrays_side_by_side_are_accepted() -> None:
    body = json.dumps({"data": [[n, n] for n in range(1_000)], "text": "[[[[" * 100}).encode()
    assert read_json(body) == json.loads(body)


@pytest.mark.parametrize("body", [b"[" * 100, b"[" * 70 + b"}" * 70 + b"]", b"]" * 99 + b"[" * 99])
def test_brackets_that_do_not_match_are_refused(body: bytes) -> None:
    assert refusal(body).kind == "malformed-json"


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":2}', b'[{"b":{"a":1,"\\u0061":1}}]', b'{"a":1,"b":2,"a":":"}']
)
def test_a_repeated_key_is_refused_where_asked(body: bytes) -> None:
    read_json(body)
    assert "twice" in refusal(body, unique_keys=True).detail


@pytest.mark.parametrize("body", [b'{"a:":":","b":"\\":"}', b'[{"a":1},{"a":1}]', b'":"'])
def test_keys_of_different_objects_are_no_repetition(body: bytes) -> None:
    assert read_json(body, unique_keys=True) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 500_000,
        b'"' * 999_999,
        b"[" + b"[]," * 300_000 + b"[]]",
        b"[" * 1_000_000,
        b'"' + b"\\" * 999_999,
    ],
    ids=["escaped quotes", "quotes", "pairs", "openings", "backslashes"],
)
def test_a_hostile_megabyte_is_judged_fast(body: bytes) -> None:
    begin = time.process_time()
    for unique_keys in (False, True):
        try:
            read_json(b"[" * 64 + body, unique_keys=unique_keys)
        except Problem:
            pass
        else:
            pytest.fail("it is not JSON")
    assert time.process_time() - begin < 2.0


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    kind: str = msgspec.field(default="", name="datatype")
    parameters: dict[str, int] = {}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"name":7,"shape":[]}', "Expected `str`, got `int`, at $.name"),
        (b'{"name":"a"}', "Object missing required field `shape`"),
        (b'{"name":"a","shape":[1,"s3cret"]}', "Expected `int`, got `str`, at $.shape[1]"),
        (b'{"name":"a","shape":[],"s3cret":1}', "there is a field that is not known"),
        (b'{"name":"a","shape":[],"parameters":{"s3cret":"s3cret"}}', "at $.parameters[...]"),
        (b"[]", "Expected `object`, got `array`"),
    ],
)
def test_a_value_of_another_type_is_refused(body: bytes, detail: str) -> None:
    with pytest.raises(Problem) as refused:
        read_typed(body, msgspec.json.Decoder(Tensor))
    assert (refused.value.status, refused.value.kind) == (400, "invalid-body")
    assert detail in refused.value.detail
    assert "s3cret" not in refused.value.detail


def test_a_value_outside_a_closed_set_is_not_echoed() -> None:
    class Closed(msgspec.Struct, tag="known"):
        pass

    with pytest.raises(Problem) as refused:
        read_typed(b'{"type":"s3cret"}', msgspec.json.Decoder(Closed))
    assert "s3cret" not in refused.value.detail


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=30,
)  # fmt: skip


@given(value=JSON_VALUES, ascii_only=st.booleans())
def test_reads_what_the_standard_library_reads(value: Any, *, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert read_json(body, unique_keys=True) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_problem(body: bytes) -> None:
    with suppress(Problem):
        assert read_json(body, unique_keys=True) == json.loads(body)
