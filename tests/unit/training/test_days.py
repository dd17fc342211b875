"""Splits by date, the delay of labels, and cards that are known to be compromised."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.training.days import (
    LATEST,
    PROTOCOLS,
    Days,
    RelativeDays,
    RelativeSplit,
    Split,
    latest,
    new_cards,
    number_of,
    read_days,
    split_for,
)


def days(first: int, last: int) -> Days:
    return Days(date(2018, 5, first), date(2018, 5, last))


@pytest.mark.parametrize("text", ["2018-05-01", "2018-05-01:x", "2018-05-02:2018-05-01", ""])
def test_days_that_are_not_a_range_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="days"):
        Days.parse(text)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_protocols_keep_the_delay(name: str) -> None:
    split = PROTOCOLS[name]
    split.check()
    assert split.test == Days(date(2018, 8, 8), date(2018, 8, 14))
    assert split.delay_days == 7


def test_labels_that_are_not_known_in_time_are_refused() -> None:
    Split(days(1, 5), days(6, 10), days(18, 20)).check()
    with pytest.raises(SettingsError, match="known up to 2018-05-09"):
        Split(days(1, 5), days(6, 10), days(17, 20)).check()
    with pytest.raises(SettingsError, match="the train days"):
        Split(days(6, 11), days(1, 5), days(18, 20)).check()
    Split(days(1, 5), days(6, 10), days(11, 12), delay_days=0).check()


def test_other_bad_splits_are_refused() -> None:
    with pytest.raises(SettingsError, match="overlap"):
        Split(days(1, 5), days(5, 10), days(28, 30)).check()
    with pytest.raises(SettingsError, match="less than 0"):
        Split(days(1, 5), days(6, 10), days(28, 30), delay_days=-1).check()
    with pytest.raises(SettingsError, match="more days than there are before"):
        Split(days(1, 5), days(6, 10), days(28, 30), delay_days=10**9).check()


def test_a_protocol_is_changed_by_what_is_given() -> None:
    split = split_for("handbook", None, "2018-07-01:2018-07-07", None, 3)
    assert split.train == PROTOCOLS["handbook"].train
    assert split.validation == Days(date(2018, 7, 1), date(2018, 7, 7))
    assert split.delay_days == 3
    with pytest.raises(SettingsError, match="known are handbook, handbook-long"):
        split_for("paper", None, None, None, None)


def test_cards_leave_when_a_fraud_of_theirs_is_known() -> None:
    split = Split(days(1, 5), days(6, 7), days(15, 17), delay_days=7)
    start = number_of(date(2018, 5, 15))
    # (card, day after the test's first, fraud): a fraud of day d is known on day d + 8.
    rows = [
        ("known", -14, 1), ("known", 0, 0), ("known", 2, 0),
        ("old", -15, 1), ("old", 0, 0),
        ("second", -7, 1), ("second", 0, 1), ("second", 1, 0), ("second", 2, 0),
        ("late", -5, 1), ("late", 0, 0), ("late", 2, 0),
        ("none", -14, 0), ("none", 1, 0),
    ]  # fmt: skip
    kept = new_cards(
        pa.array([card for card, _, _ in rows]),
        np.array([start + day for _, day, _ in rows]),
        np.array([fraud for _, _, fraud in rows]),
        split,
    )
    told = [(card, day) for (card, day, _), keep in zip(rows, kept, strict=True) if keep]
    assert told == [("old", 0), ("second", 0), ("late", 0), ("late", 2), ("none", 1)]


@pytest.mark.thorough
def test_the_published_test_set_comes_out(published: pa.Table) -> None:
    split = PROTOCOLS["handbook"]
    day = published["event_time"].cast(pa.int64()).to_numpy() // 86_400_000
    fraud = published["is_fraud"].to_numpy().astype(np.int64)
    train = split.train.holds(day)
    assert (train.sum(), fraud[train].sum()) == (67_240, 598)
    kept = new_cards(published["customer_id"].combine_chunks(), day, fraud, split)
    assert (kept.sum(), fraud[kept].sum()) == (58_264, 385)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("end-6:end", date(2018, 5, 25), date(2018, 5, 31)),
        ("end:end", date(2018, 5, 31), date(2018, 5, 31)),
        ("2018-05-02:end-1", date(2018, 5, 2), date(2018, 5, 30)),
        ("end-30:2018-05-03", date(2018, 5, 1), date(2018, 5, 3)),
        ("2018-05-02:2018-05-03", date(2018, 5, 2), date(2018, 5, 3)),
    ],
)
def test_days_are_counted_back_from_the_end(text: str, first: date, last: date) -> None:
    found = read_days(text)
    assert str(found) == text
    ended = found.ending(date(2018, 5, 31)) if isinstance(found, RelativeDays) else found
    assert ended == Days(first, last)


@pytest.mark.parametrize(
    "text",
    ["end", "end-1", "end-1:end-2", "end+1:end", "end--1:end", "end-:end", "end-1:end:end",
     "end-1234567:end", "end-1:x", "END-1:END", "end-\u0661:end"],
)  # fmt: skip
def test_relative_days_that_are_not_a_range_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="days"):
        read_days(text)


def test_days_that_the_data_cannot_have_are_refused() -> None:
    with pytest.raises(SettingsError, match="for data that end on 2018-05-01, the last is before"):
        RelativeDays(date(2018, 5, 2), 0).ending(date(2018, 5, 1))
    with pytest.raises(SettingsError, match="more days than there are before 2018-05-01"):
        RelativeDays(999_999, 0).ending(date(2018, 5, 1))


@pytest.mark.parametrize("delay", [0, 1, 7, 30])
def test_the_latest_protocol_keeps_any_delay_to_the_day(delay: int) -> None:
    split = latest(delay).ending(date(2026, 1, 31))
    split.check()
    assert (split.test.last, split.delay_days) == (date(2026, 1, 31), delay)
    assert (split.validation.first - split.train.last).days == 1
    with pytest.raises(SettingsError, match="labels are known up to"):
        Split(split.train, split.validation, split.test, delay + 1).check()


def test_relative_days_and_dates_mix() -> None:
    split = split_for("handbook", None, None, "end-1:end", None)
    assert split == RelativeSplit(
        PROTOCOLS["handbook"].train, PROTOCOLS["handbook"].validation, RelativeDays(1, 0)
    )
    assert split_for(LATEST, None, None, None, 3) == latest(3)
    dates = ("2018-05-01:2018-05-05", "2018-05-06:2018-05-10", "2018-05-18:2018-05-20")
    assert split_for(LATEST, *dates, None) == Split(days(1, 5), days(6, 10), days(18, 20))
