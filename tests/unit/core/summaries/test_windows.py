"""Records are counted by partition and the window of their Kafka timestamp, in any cut."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.summaries import summaries
from stream_scorer.core.summaries.summaries import (
    InputRecords,
    SummaryInput,
    arrivals_of,
    summarize,
)
from stream_scorer.core.summaries.summary_reading import read_arrivals
from tests.support.core.watched import WIDTH_MS, decided, full
from tests.support.effort import examples

Row = tuple[int, int, RejectReason | None, bool]

rows = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(-1, 6 * WIDTH_MS),
        st.sampled_from([None, None, RejectReason.EMPTY, RejectReason.DUPLICATE]),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


def read(mine: Sequence[Row]) -> InputRecords:
    """Return records; a row has partition, timestamp, reason, and whether its decision is late."""
    rejected = [at for at, row in enumerate(mine) if row[2]]
    return InputRecords(
        np.array([row[0] for row in mine], np.int32),
        np.arange(len(mine)),
        np.array([row[1] for row in mine], np.int64),
        np.array(rejected, np.int64),
        [row[2] for row in mine if row[2]],
        np.array([at for at, row in enumerate(mine) if row[3] and not row[2]], np.int64),
    )


def totals(made: Sequence[dict[str, Any]]) -> dict[tuple[int, int], Counter[str]]:
    found: dict[tuple[int, int], Counter[str]] = {}
    for each in made:
        counts = Counter(each["rejected"]) + Counter(records=each["records"], late=each["late"])
        place = each["partition"], each["start"]
        found[place] = found.get(place, Counter()) + counts
    return found


def expected(mine: Sequence[Row]) -> dict[tuple[int, int], Counter[str]]:
    found: dict[tuple[int, int], Counter[str]] = {}
    for partition, time, reason, late in mine:
        counts = found.setdefault((partition, time // WIDTH_MS * WIDTH_MS), Counter())
        counts["records"] += 1
        if reason:
            counts[reason.value] += 1
        elif late:
            counts["late"] += 1
    return found


@settings(max_examples=examples(100), deadline=None)
@given(rows, st.lists(st.integers(0, 40), max_size=4))
def test_any_cut_counts_the_same_arrivals(drawn: list[Row], cuts: list[int]) -> None:
    together = arrivals_of(read(drawn), WIDTH_MS)
    assert totals(together) == expected(drawn)
    assert [(each["partition"], each["start"]) for each in together] == list(expected(drawn))
    places = sorted({min(cut, len(drawn)) for cut in cuts} | {0, len(drawn)})
    parts = [arrivals_of(read(drawn[a:b]), WIDTH_MS) for a, b in pairwise(places)]
    assert totals([each for part in parts for each in part]) == totals(together)


def test_a_batch_without_records_has_no_arrivals() -> None:
    assert arrivals_of(read([]), WIDTH_MS) == []


def test_timestamps_in_no_order_are_counted_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    by_sorting = summaries._sorted_windows

    def counted(partition: Any, time: Any, width: int) -> Any:
        called.append(len(time))
        return by_sorting(partition, time, width)

    monkeypatch.setattr(summaries, "_sorted_windows", counted)
    chance = np.random.default_rng(3)
    drawn: list[Row] = [
        (int(p), int(t), None, bool(p))
        for p, t in zip(chance.integers(3, size=2_000), chance.integers(10**13, size=2_000),
                        strict=True)
    ]  # fmt: skip
    assert totals(arrivals_of(read([*drawn, *drawn[::2]]), WIDTH_MS)) == expected(
        [*drawn, *drawn[::2]]
    )
    assert called == [3_000]


@pytest.mark.parametrize(("windows", "records"), [(0, 1), (7, 1), (8, 2), (21, 3)])
def test_the_last_records_of_a_summary_have_the_arrivals(
    windows: int, records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "MOST_ARRIVALS", 7)
    drawn: list[Row] = [(0, n * WIDTH_MS, RejectReason.EMPTY, False) for n in range(windows)]
    first, last = decided([full(0)]), decided([full(1)])
    made = summarize(read(drawn), [SummaryInput(each, WIDTH_MS) for each in (first, last)])
    assert [len(each) for each in made] == [1, records]
    assert list(read_arrivals(made[0][0])) == []
    found = [list(read_arrivals(record)) for record in made[1]]
    assert [each.start for part in found for each in part] == [row[1] for row in drawn]
    assert max(map(len, found)) <= 7
    assert [len(record["windows"]) for record in made[1]] == [0] * (records - 1) + [1]
    assert [len(record["sources"]) for record in made[1][:-1]] == [0] * (records - 1)
    assert made[1][-1]["records"] == windows
    assert made[1][-1]["rejected"] == ({"EMPTY": windows} if windows else {})
