"""ISO 8601 times are read as Python's datetime reads them, and rounded down."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.mapping.time_text import milliseconds_of
from tests.support.effort import examples

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=examples(200))
@given(
    st.datetimes(timezones=ZONES), st.sampled_from("T "),
    st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]),
)  # fmt: skip
def test_a_time_is_read_as_datetime_reads_it(time: datetime, separator: str, spec: str) -> None:
    text = time.isoformat(separator, spec)
    expected = (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)
    assert milliseconds_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:00:00,25z", 250),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01T01:00:00+01", 0),
        ("1970-01-01T01:00:00+0100", 0),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
    ],
)
def test_forms_of_a_time(text: str, expected: int) -> None:
    assert milliseconds_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "1970", "1970-01-01", "1970-01-01T", "1970-01-01T00Z", "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z", "1970-01-01T00:00:60Z", "1970-13-01T00:00:00Z",
        "1970-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2200-02-29T00:00:00Z",
        "1970-01-00T00:00:00Z", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+00:60", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00.1234567891Z",
        "1970-01-01T00:00:00Zx", "1970-01-01T00:00:00+0", "+970-01-01T00:00:00Z",
        "1970-01-01T00:00:00 Z", "1970-01-01T00:00:00.5+00:00:00", "\N{DIGIT ONE}970-01-01T0",
        "197é-01-01T00:00:00Z", "1970-01-01T00:00:00Z" + " " * 40,
    ],
)  # fmt: skip
def test_what_is_not_a_time(text: str) -> None:
    assert milliseconds_of(text) is None
