"""JSON with two possible meanings is refused."""

import pytest

from stream_scorer.security import canonical_json


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "'a' is there twice"),
        (b'{"a": 1, "A": 2}', "differ in their case alone"),
        (b'{"a": Infinity}', "Infinity is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested deeper than 200 levels"),
        (b"[]", "not a JSON object"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": 1} x', "Extra data"),
        (b"", "Expecting value"),
        (b"\xff", "utf-8"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "digits"),
    ],
)
def test_what_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        canonical_json.parse(text)
    assert "\n" not in str(refused.value)


def test_what_is_read_and_written() -> None:
    table = canonical_json.parse('{"b": [1, {"é": null}], "a": 0.5}'.encode())
    assert table == {"b": [1, {"é": None}], "a": 0.5}
    assert canonical_json.canonical(table) == b'{"a":0.5,"b":[1,{"\\u00e9":null}]}'
