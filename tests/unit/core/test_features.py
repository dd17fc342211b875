"""Each kind by hand, and each refusal with what would have been right."""

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.features import compile_features
from stream_scorer.core.plan import Plan

DAY = 86_400_000
AMOUNT = {"name": "amount", "kind": "passthrough", "field": "amount"}


def compute(
    spec: dict[str, Any],
    *,
    time: int = 0,
    amount: int = 0,
    counts: tuple[int, ...] = (),
    sums: tuple[int, ...] = (),
    plan: Plan | None = None,
    others: tuple[dict[str, Any], ...] = (),
) -> float:
    compiled = compile_features([spec, *others], plan or Plan())
    row = compiled.compute(
        np.array([time]), np.array([amount]), np.array([counts]), np.array([sums])
    )
    assert row.dtype == np.float64
    assert row.flags.c_contiguous
    assert row.shape == (1, 1 + len(others))
    return float(row[0, 0])


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("currency", "exponent", "value"), [("EUR", 2, 12.34), ("JPY", 0, 1234.0), ("KWD", 3, 1.234)]
)
def test_passthrough_is_the_amount_in_units(currency: str, exponent: int, value: float) -> None:
    assert compute(AMOUNT, amount=1_234, plan=Plan(currencies={currency: exponent})) == value


@pytest.mark.parametrize(
    ("time", "value"),
    [
        ("2018-04-06T23:59:59.999", 0.0),  # Friday
        ("2018-04-07T00:00:00.000", 1.0),
        ("2018-04-08T23:59:59.999", 1.0),
        ("2018-04-09T00:00:00.000", 0.0),
        ("1970-01-01T00:00:00.000", 0.0),  # a Thursday
        ("1970-01-03T12:00:00.000", 1.0),
    ],
)
def test_weekend_is_saturday_and_sunday_in_utc(time: str, value: float) -> None:
    assert compute({"name": "w", "kind": "weekend"}, time=at(time)) == value


@pytest.mark.parametrize(
    ("time", "value"),
    [
        ("2018-04-06T00:00:00.000", 1.0),
        ("2018-04-06T06:59:59.999", 1.0),
        ("2018-04-06T07:00:00.000", 0.0),
        ("2018-04-06T23:59:59.999", 0.0),
    ],
)
def test_night_is_the_hours_0_to_6_in_utc(time: str, value: float) -> None:
    assert compute({"name": "n", "kind": "night"}, time=at(time)) == value


def test_count_sum_and_mean_read_their_own_window() -> None:
    longer = {"name": "other", "kind": "count", "window": "7d"}
    seen: dict[str, Any] = {"counts": (3, 8), "sums": (1_000, 2_000), "others": (longer,)}
    assert compute({"name": "c", "kind": "count", "window": "1d"}, **seen) == 3.0
    assert compute({"name": "c", "kind": "count", "window": "24h"}, **seen) == 3.0
    windowed = {"name": "s", "field": "amount", "window": "1440m"}
    assert compute({**windowed, "kind": "sum"}, **seen) == 10.0
    assert compute({**windowed, "kind": "mean"}, **seen) == 1_000 / 3 / 100.0
    shorter = {"name": "other", "kind": "count", "window": "86399s"}
    assert compute({**windowed, "kind": "sum"}, **(seen | {"others": (shorter,)})) == 20.0


def test_columns_keep_the_order_of_the_manifest_and_windows_are_shared() -> None:
    compiled = compile_features(
        [
            {"name": "z", "kind": "count", "window": "7d"}, AMOUNT,
            {"name": "a", "kind": "mean", "field": "amount", "window": "7d"},
            {"name": "m", "kind": "count", "window": "1d", "key": "customer_id"},
        ],
        Plan(lateness_ms=500, ring_cap=77),
    )  # fmt: skip
    assert compiled.names == ("z", "amount", "a", "m")
    assert compiled.windows.tolist() == [DAY, 7 * DAY]
    assert (compiled.retention.lateness_ms, compiled.retention.cap) == (500, 77)
    assert compiled.retention.horizon_ms == 7 * DAY + 500


def test_without_windows_only_the_lateness_is_remembered() -> None:
    assert compile_features([AMOUNT], Plan(lateness_ms=9)).retention.horizon_ms == 9


KNOWN = "count, mean, night, passthrough, sum, weekend"


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "the manifest lists no features"),
        ([{"kind": "night"}], "a feature has no name: {'kind': 'night'}"),
        ([{"name": "", "kind": "night"}], "a feature has no name"),
        ([AMOUNT, AMOUNT], "feature amount: listed twice"),
        ([{"name": "f", "kind": "mode"}], f"feature f: kind 'mode' is not known; known: {KNOWN}"),
        ([{"name": "f"}], f"feature f: kind None is not known; known: {KNOWN}"),
        ([{"name": "f", "kind": "count"}], "feature f: kind count needs the key 'window'"),
        (
            [{"name": "f", "kind": "count", "window": "1d", "field": "amount"}],
            "feature f: kind count has no key 'field'; its keys are key, kind, name, window",
        ),
        (
            [{"name": "f", "kind": "night", "key": "customer_id"}],
            "feature f: kind night has no key 'key'; its keys are kind, name",
        ),
        (
            [{"name": "f", "kind": "count", "window": "1d", "key": "terminal_id"}],
            "feature f: key 'terminal_id' is not known here; the input is partitioned by customer",
        ),
        (
            [{"name": "f", "kind": "sum", "window": "1d", "field": "score"}],
            "feature f: field 'score' is not known; known: 'amount'",
        ),
        ([{"name": "f", "kind": "count", "window": "401d"}], "feature f: window 401d is longer"),
        *(
            (
                [{"name": "f", "kind": "count", "window": window}],
                f"feature f: window {str(window)!r} is no bounded length; write 30m, 24h or 7d",
            )
            for window in ("all", "", "0d", "-1d", "1.5d", "1w", "7", "7d ", 7, "\u0667d")
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_by_name(
    specs: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        compile_features(specs, Plan())
    assert str(refused.value).startswith(message)
