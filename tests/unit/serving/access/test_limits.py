"""Rates, quotas and failures: exact, in bounded memory, and safe when a clock is set back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.serving.access.failures import FailureLimit
from stream_scorer.serving.access.limits import ClientLimits, LimitReached, TokenBucket

DAY = 86_400.0


@given(
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 64), st.integers(1, 5)), max_size=60),
)
def test_a_bucket_admits_what_its_rate_and_burst_allow(
    rate: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    # Times are multiples of 1/16, so floats are exact, and the fractions are the reference.
    bucket = TokenBucket(rate, burst, 0.0)
    tokens, now = Fraction(burst), Fraction(0)
    for wait, count in steps:
        now += Fraction(wait, 16)
        tokens = min(tokens + Fraction(wait, 16) * rate, Fraction(burst))
        expected = Fraction(0) if tokens >= 1 else (1 - tokens) / rate
        assert bucket.wait(float(now)) == float(expected)
        if tokens >= 1:
            bucket.take(float(now), count)
            tokens -= count
        assert bucket.left(float(now)) == max(int(tokens // 1), 0)


def test_what_is_admitted_in_a_time_is_bounded() -> None:
    bucket, admitted = TokenBucket(10.0, 5, 0.0), 0
    for step in range(100_001):
        if bucket.wait(step / 10_000) == 0.0:
            bucket.take(step / 10_000)
            admitted += 1
    assert 104 <= admitted <= 105


def test_other_limits_keep_what_was_taken() -> None:
    bucket = TokenBucket(1.0, 10, 0.0)
    bucket.take(0.0, 8)
    bucket.change(2.0, 20, 0.0)
    assert bucket.left(0.0) == 12
    bucket.change(1.0, 5, 0.0)
    assert bucket.wait(0.0) == 4.0


def test_a_quota_is_for_a_day_of_utc() -> None:
    limits = ClientLimits(1_000.0, 1_000, 2, 0.0)
    assert [limits.take(1.0, DAY * 3 - 0.5) for _ in range(2)] == [None, None]
    assert limits.take(1.0, DAY * 3 - 0.5) == LimitReached("quota", 0.5)
    assert limits.take(1.0, DAY * 3) is None


def test_a_clock_that_is_set_back_begins_no_new_day() -> None:
    limits = ClientLimits(1_000.0, 1_000, 1, 0.0)
    assert limits.take(1.0, DAY * 3 + 5) is None
    reached = limits.take(1.0, DAY * 2 + 5)
    assert reached == LimitReached("quota", DAY * 2 - 5)
    assert limits.take(1.0, DAY * 3 + 6) is not None


def test_a_refused_request_uses_neither_limit() -> None:
    limits = ClientLimits(1.0, 1, 1, 0.0)
    assert limits.take(0.0, 5.0) is None
    for _ in range(50):
        assert limits.take(0.0, 5.0) == LimitReached("rate", 1.0)
    reached = limits.take(1.0, 6.0)
    assert reached is not None
    assert reached.limit == "quota"
    assert limits.bucket.left(1.0) == 1
    # A batch that the quota has no room for is refused as one.
    other = ClientLimits(1.0, 10, 5, 0.0)
    assert other.take(0.0, 5.0, 6) == LimitReached("quota", DAY - 5.0)
    assert other.take(0.0, 5.0, 5) is None


def test_headers_show_the_limit() -> None:
    limits = ClientLimits(2.0, 10, None, 0.0)
    limits.take(0.0, 0.0, 7)
    assert dict(limits.headers(0.0)) == {
        "ratelimit-limit": "10", "ratelimit-remaining": "3", "ratelimit-reset": "4",
    }  # fmt: skip
    limits.take(0.0, 0.0, 100)
    assert dict(limits.headers(0.0))["ratelimit-remaining"] == "0"


def test_failures_are_kept_for_a_bounded_number_of_addresses() -> None:
    failures = FailureLimit(2, peers_most=3)
    for number in range(1_000):
        assert failures.note(f"10.0.{number // 256}.{number % 256}", 0.0) == 0.0
    assert len(failures) == 3
    # The one that failed least recently is forgotten first.
    for peer in ("a", "b", "c", "a", "d"):
        failures.note(peer, 0.0)
    assert failures.wait("a", 0.0) == 30.0
    assert failures.wait("b", 0.0) == 0.0
    assert failures.note("b", 0.0) == 0.0


@pytest.mark.parametrize("per_minute", [1, 60, 6_000])
def test_failures_of_an_address_come_back_with_time(per_minute: int) -> None:
    failures = FailureLimit(per_minute)
    assert [failures.note("a", 0.0) for _ in range(per_minute)] == [0.0] * per_minute
    wait = failures.note("a", 0.0)
    assert wait == pytest.approx(60.0 / per_minute)
    assert failures.wait("a", 0.0) == wait
    assert failures.wait("b", 0.0) == 0.0
    assert failures.note("a", wait * 1.001) == 0.0
