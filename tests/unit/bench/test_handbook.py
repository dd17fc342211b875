"""How the bench of the handbook stream judges what the monitor reports."""

import numpy as np
import pyarrow as pa
import pytest

from bench.drift_steps.handbook import episodes, figures, gates, judged, poisson_most
from bench.drift_steps.handbook_city import (
    BEGIN,
    DAY_MS,
    FIRST_MS,
    QUIET,
    City,
    more_amount,
    more_fraud,
    other_categories,
    times_of,
)
from tests.support.drift.documents import alarm
from tests.support.drift.synthetic import HOUR, reference

DAY = BEGIN + QUIET
ONSET = FIRST_MS + DAY * DAY_MS
CITY = City(3, 100, reference(), fraud_score=0.6, fraud_share=0.01, score=0.05)
FOUND = {"found": True, "page": True, "onset_error": 0.5, "windows": 20.0}
GOOD = {
    "false": 0, "covariate": FOUND | {"page": False}, "prior": FOUND, "harmless_pages": 0,
    "version_alarms": 0, "two": {"episodes": 2, "onset_errors": [0.2, 0.9]},
}  # fmt: skip


def test_a_change_is_found_by_its_field() -> None:
    early = alarm(window_end=ONSET - HOUR)
    late = alarm(window_end=ONSET + 5 * HOUR, onset=ONSET + 12 * HOUR)
    assert judged([early], DAY, "score")["found"] is False
    said = judged([early, late], DAY, "score")
    assert (said["found"], said["page"], said["onset_error"], said["windows"]) == (
        True,
        True,
        0.5,
        5,
    )
    assert judged([late], DAY, "amount")["found"], "among what else moved"
    assert not judged([late], DAY, "f1")["found"]


def test_two_episodes_have_an_onset_each() -> None:
    found = [
        alarm(window_end=ONSET + day * DAY_MS + HOUR, onset=ONSET + day * DAY_MS) for day in (0, 10)
    ]
    said = episodes(found, (DAY, DAY + 10))
    assert said == {"episodes": 2, "onset_errors": [0.0, 0.0]}
    assert episodes([], (DAY,))["onset_errors"] == [None]


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, []),
        ({"prior": FOUND | {"found": False}}, ["recall"]),
        ({"prior": FOUND | {"page": False}}, ["pages"]),
        ({"false": 99}, ["false alarms"]),
        ({"harmless_pages": 1}, ["harmless pages"]),
        ({"version_alarms": 1}, ["alarms of a new version"]),
        ({"two": {"episodes": 1, "onset_errors": [0.1, 4.0]}}, ["onset to the day"]),
    ],
)
def test_each_promise_can_be_broken(changed: dict[str, object], broken: list[str]) -> None:
    said = figures([GOOD | changed], 150)
    assert gates(said) == [f"handbook: {name}" for name in broken]


def test_the_bound_of_a_poisson_count() -> None:
    assert [poisson_most(mean) for mean in (0.1, 5.0, 50.0)] == [1, 9, 62]


def table() -> pa.Table:
    count = 20_000
    random = np.random.default_rng(0)
    times = ONSET + (np.arange(count) - count // 2) * 60_000
    return pa.table(
        {
            "transaction_id": [str(n) for n in range(count)],
            "event_time": pa.array(times).cast(pa.timestamp("ms")),
            "amount_minor": pa.array(np.full(count, 10_000)),
            "mcc": pa.array(np.where(random.random(count) < 0.3, "5812", "5411")),
            "is_fraud": pa.array(random.random(count) < 0.01),
        }
    )


def test_changes_begin_at_their_onset() -> None:
    before = table()
    early = times_of(before) < ONSET
    amount = np.asarray(more_amount(CITY)(before, ONSET)["amount_minor"])
    assert (amount[early] == 10_000).all()
    assert (amount[~early] > 10_000).all()
    codes = np.asarray(other_categories(before, ONSET)["mcc"].to_pylist())
    assert (codes[early] == np.asarray(before["mcc"].to_pylist())[early]).all()
    assert (codes[~early] == "5812").mean() == pytest.approx(0.3 + 0.7 * 0.25, abs=0.02)


def test_more_fraud_moves_the_mean_score_by_twice_the_tolerance() -> None:
    before = table()
    after = more_fraud(CITY)(before, ONSET)
    late = times_of(after) >= ONSET
    frauds, rows = int(np.asarray(after["is_fraud"])[late].sum()), int(late.sum())
    genuine_score = (CITY.score - CITY.fraud_share * CITY.fraud_score) / (1 - CITY.fraud_share)
    share = frauds / rows
    mean = share * CITY.fraud_score + (1 - share) * genuine_score
    assert mean == pytest.approx(1.2 * CITY.score, rel=0.05)
    assert len(set(after["transaction_id"].to_pylist())) == after.num_rows
    assert (np.diff(times_of(after)) >= 0).all()
