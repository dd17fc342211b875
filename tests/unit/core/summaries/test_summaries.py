"""A summary's counts equal plain Python's, for any batch."""

import random
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.batch import DecisionBatch, Flag, RejectReason
from stream_scorer.core.summaries import summaries
from stream_scorer.core.summaries.summaries import (
    InputRecords,
    SummaryInput,
    flag_counts,
    summarize,
)
from stream_scorer.core.summaries.summary_kernels import FIXED_ONE
from tests.support.core.events import NOW, batch, event
from tests.support.effort import examples

WIDTH = 1_000
Row = tuple[int, int, int, float, int]

rows = st.lists(
    st.tuples(
        st.integers(0, 3),  # partition
        st.integers(0, 30_000),  # time
        st.integers(0, 2**40),  # amount
        st.one_of(st.floats(0, 1), st.just(float("nan"))),
        st.integers(0, 2),  # outcome
    ),
    max_size=60,
)


def decided(rows: list[Row], flags: list[int] | None = None) -> DecisionBatch:
    events = batch(
        [
            event(n, partition=p, event_time=NOW + t, amount_minor=a)
            for n, (p, t, a, _, _) in enumerate(rows)
        ]
    )
    return DecisionBatch(
        events=events,
        score=np.array([row[3] for row in rows], np.float64),
        outcome=np.array([row[4] for row in rows], np.uint8),
        flags=np.array(flags or [0] * len(rows), np.uint8),
        features=np.zeros((len(rows), 1)),
        reasons={}, model="m", version="1.2.3", plan_revision=7,
    )  # fmt: skip


def summary(rows: list[Row]) -> dict[str, Any]:
    decisions = decided(rows)
    events = decisions.events
    read = InputRecords(events.partition, events.offset, events.timestamp)
    ((told,),) = summarize(read, [SummaryInput(decisions, WIDTH)])
    return told


@settings(max_examples=examples(150), deadline=None)
@given(rows)
def test_windows_count_what_plain_python_counts(rows: list[Row]) -> None:
    check_windows(rows)


def test_a_window_for_each_record_is_found_without_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(8)  # noqa: S311 a seeded example
    rows = [
        (chance.randrange(4), chance.randrange(-(10**9), 10**9), 5, 0.5, n % 3)
        for n in range(3_000)
    ]
    numbered: list[int] = []
    by_sorting = summaries._sorted_windows

    def counted(partition: Any, time: Any, width: int) -> Any:
        numbered.append(len(time))
        return by_sorting(partition, time, width)

    monkeypatch.setattr(summaries, "_sorted_windows", counted)
    # Some windows have several records, not next to each other.
    check_windows(rows + rows[::3])
    assert numbered == [4_000]
    check_windows(rows[:50])
    assert numbered == [4_000]


def check_windows(rows: list[Row]) -> None:
    expected: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        expected[row[0], (NOW + row[1]) // WIDTH * WIDTH].append(row)
    found = {(w["partition"], w["start"]): w for w in summary(rows)["windows"]}
    assert list(found) == list(expected)
    for place, mine in expected.items():
        window, amounts = found[place], [row[2] for row in mine]
        scores = [row[3] for row in mine if row[3] == row[3]]
        assert window["width_ms"] == WIDTH
        assert window["count"] == len(mine)
        assert window["review"] == sum(row[4] == 1 for row in mine)
        assert window["block"] == sum(row[4] == 2 for row in mine)
        assert window["amount_minor_sum"] == sum(amounts)
        assert window["amount_minor_min"] == min(amounts)
        assert window["amount_minor_max"] == max(amounts)
        assert window["score_sum"] == sum(int(score * FIXED_ONE) for score in scores) / FIXED_ONE
        bins = [min(int(score * 10), 9) for score in scores]
        assert window["score_bins"] == [bins.count(k) for k in range(10)]
        bins = [min(amount.bit_length(), 31) for amount in amounts]
        assert window["amount_bins"] == [bins.count(k) for k in range(32)]


def test_sources_cover_all_records_watermarks_accepted_ones() -> None:
    decisions = decided([(2, 5, 1, 0.1, 0), (0, 9, 1, 0.1, 0), (2, 3, 1, 0.1, 0)])
    partition = np.array([0, 0, 1, 2, 2, 2], np.int32)
    offset = np.array([10, 11, 7, 90, 92, 95])
    rejected = [RejectReason.EMPTY, RejectReason.EMPTY, RejectReason.CURRENCY]
    read = InputRecords(partition, offset, offset * WIDTH, np.array([0, 1, 2]), rejected)
    ((told,),) = summarize(read, [SummaryInput(decisions, WIDTH)])
    assert told["sources"] == [
        {"partition": 0, "first_offset": 10, "next_offset": 12, "watermark": NOW + 9},
        {"partition": 1, "first_offset": 7, "next_offset": 8, "watermark": 0},
        {"partition": 2, "first_offset": 90, "next_offset": 96, "watermark": NOW + 5},
    ]
    assert told["rejected"] == {"EMPTY": 2, "CURRENCY": 1}
    assert (told["records"], told["model"], told["model_version"], told["plan_revision"]) == (
        6, "m", "1.2.3", 7,
    )  # fmt: skip


def test_a_batch_without_a_decision_has_no_windows() -> None:
    decisions = decided([])
    partition, offset = np.array([3], np.int32), np.array([5])
    read = InputRecords(partition, offset, offset, np.array([0]), [RejectReason.EMPTY])
    ((told,),) = summarize(read, [SummaryInput(decisions, WIDTH)])
    assert told["windows"] == []
    assert told["sources"][0]["watermark"] == 0


@pytest.mark.parametrize(
    ("flags", "counts"),
    [
        ([0, 0], {}),
        ([Flag.LATE, Flag.LATE | Flag.CAPPED], {"late": 2, "capped": 1}),
        ([Flag.LATE_DECISION, 0], {"late_decision": 1}),
    ],
)
def test_flags_are_counted_by_name(flags: list[int], counts: dict[str, int]) -> None:
    row: Row = (0, 0, 1, 0.5, 0)
    assert flag_counts(decided([row, row], flags)) == counts


def batches(*sizes: int) -> list[DecisionBatch]:
    """Return batches of several arms with one decision in each of this many windows."""
    arms = ["champion", "canary", "control"]
    return [
        replace(
            decided(
                [(at, 5 * WIDTH * n, 1, 0.5, 0) for n in range(size)],
                [Flag.LATE] * size,
            ),
            arm=arms[at],
        )
        for at, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    "sizes", [(0,), (1,), (7,), (8,), (21,), (3, 2), (0, 9), (9, 0), (7, 8, 1)]
)
def test_a_summary_splits_by_arm_and_size_and_counts_once(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "MOST_WINDOWS", 7)
    made = batches(*sizes)
    partition = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    count = sum(sizes) or 1
    offset = np.arange(count)
    partition = np.resize(partition, count) if len(partition) else np.zeros(1, np.int32)
    read = InputRecords(partition, offset, offset, np.array([0]), [RejectReason.EMPTY])
    told = summarize(read, [SummaryInput(each, WIDTH) for each in made])
    cut = [part for records in told for part in records]
    assert [part["arm"] for part in cut] == [
        each.arm for each, size in zip(made, sizes, strict=True) for _ in range(-(-size // 7) or 1)
    ]
    for each, size in zip(made, sizes, strict=True):
        mine = next(records for records in told if records[0]["arm"] == each.arm)
        starts = [window["start"] for part in mine for window in part["windows"]]
        assert starts == [NOW // WIDTH * WIDTH + 5 * WIDTH * n for n in range(size)]
        assert [part["flagged"] for part in mine[:-1]] == [{}] * (len(mine) - 1)
        assert mine[-1]["flagged"] == ({"late": size} if size else {})
    assert all(len(part["windows"]) <= 7 for part in cut)
    for part in cut[:-1]:
        assert (part["records"], part["rejected"], part["sources"]) == (0, {}, [])
    assert (cut[-1]["records"], cut[-1]["rejected"]) == (count, {"EMPTY": 1})
    assert [source["partition"] for source in cut[-1]["sources"]] == sorted(set(partition.tolist()))
    assert all(source["watermark"] >= NOW for source in cut[-1]["sources"] if sum(sizes))
