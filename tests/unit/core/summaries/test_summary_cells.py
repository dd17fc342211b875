"""Summaries count by segment and cell what plain Python counts, however a batch is cut."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import DecisionBatch, Flag
from stream_scorer.core.summaries import summaries, summary_reading
from stream_scorer.core.summaries.segments import NO_SEGMENTS
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.core.summaries.summary_kernels import FIXED_ONE
from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    NUMBER_CELLS,
    OUTCOME,
    ReferenceBins,
    Segments,
    WatchedField,
)
from stream_scorer.core.summaries.summary_reading import WindowCells, read_windows
from stream_scorer.core.summaries.watched_columns import columns_of
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.core.events import NOW, event
from tests.support.core.watched import (
    DIGEST,
    FEATURES,
    TABLE,
    WIDTH_MS,
    Int64,
    bins_of,
    decided,
    full,
    number,
    segments,
    summary_of,
)
from tests.support.effort import examples

BINS = bins_of(FEATURES)
CELLS = int(BINS.first_cell[-1])
SEGMENTS = segments(TABLE)
LOG_ERROR = 2**-20

numbers = st.one_of(
    st.floats(-0.5, 1.5), st.sampled_from([0.0, 0.1, 0.5, 1.0, np.nan, np.inf, -np.inf])
)
scores = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, np.nan]))
rows = st.lists(
    st.builds(
        event,
        st.integers(0, 999),
        partition=st.integers(0, 2),
        event_time=st.integers(NOW, NOW + 5 * WIDTH_MS),
        amount_minor=st.one_of(st.integers(0, 12_000), st.integers(0, 10**12)),
        currency=st.sampled_from(["EUR", "USD"]),
        channel=st.sampled_from(["POS", "ECOM", "MOTO", "", None]),
        items=st.one_of(st.none(), st.integers(-2, 12)),
        gift=st.sampled_from([True, False, None]),
        shop=st.sampled_from(["a", "b", None]),
        score=scores,
        outcome=st.integers(0, 2),
        flags=st.sampled_from([0, int(Flag.LATE), int(Flag.CAPPED)]),
        features=st.lists(numbers, min_size=FEATURES, max_size=FEATURES),
    ),
    min_size=1,
    max_size=40,
)


def value_of(row: dict[str, Any], field: WatchedField) -> Any:
    kind, _, place = field.source.partition(":")
    if kind == "feature":
        return row["features"][int(place)]
    return row["amount_minor" if place == "amount" else place or kind]


def cell_of(row: dict[str, Any], field: WatchedField) -> int:
    value = value_of(row, field)
    if field.kind == OUTCOME:
        return int(value)
    if field.kind != NUMBER:
        known = [*field.values, None]
        return known.index(value) if value in known else len(known)
    if value is None or np.isnan(value):
        return NUMBER_CELLS - 2
    if not field.low <= value <= field.high:
        return NUMBER_CELLS - 1
    return int((value > field.edges).sum())


def segments_in(row: dict[str, Any]) -> list[str]:
    amount, channel = row["amount_minor"], row["channel"]
    by_amount = (
        "amount<20" if amount < 2_000 else "amount<100" if amount < 10_000 else "amount>=100"
    )
    return [
        "amount>=100" if amount >= 10_000 else by_amount,
        f"channel={channel if channel in ('POS', 'ECOM') else 'other'}",
        "gift=true" if row["gift"] else "gift=other",
        "shop=a" if row["shop"] == "a" else "shop=other",
    ]


def expected(mine: Sequence[dict[str, Any]], bins: ReferenceBins, chosen: Segments) -> Any:
    """Return counts, sums of scores and the logarithms of each segment's amounts."""
    first = bins.first_cell.tolist()
    counts = np.zeros((chosen.count, first[-1]), np.int64)
    score_sum = np.zeros(chosen.count, np.int64)
    logs: list[list[float]] = [[] for _ in range(chosen.count)]
    for row in mine:
        names = [0, *(1 + chosen.names.index(name) for name in segments_in(row))]
        for segment in names:
            for field, cell in zip(bins.fields, first, strict=False):
                counts[segment, cell + cell_of(row, field)] += 1
            if not np.isnan(row["score"]):
                score_sum[segment] += int(np.floor(row["score"] * FIXED_ONE))
            logs[segment].append(float(np.log1p(row["amount_minor"])))
    return counts, score_sum, [sum(each) for each in logs]


Place = tuple[int, int]


def by_window(mine: Iterable[dict[str, Any]]) -> dict[Place, list[dict[str, Any]]]:
    found: dict[Place, list[dict[str, Any]]] = defaultdict(list)
    for row in mine:
        found[row["partition"], row["event_time"] // WIDTH_MS * WIDTH_MS].append(row)
    return found


@settings(max_examples=examples(100), deadline=None)
@given(rows)
def test_cells_are_what_plain_python_counts(drawn: list[dict[str, Any]]) -> None:
    made = summary_of(decided(drawn), BINS, SEGMENTS)
    assert (made["reference"], tuple(made["segments"])) == (DIGEST, SEGMENTS.names)
    read = {(each.partition, each.start): each for each in read_windows(made, CELLS)}
    grouped = by_window(drawn)
    assert list(read) == list(grouped)
    for place, mine in grouped.items():
        window = read[place]
        counts, score_sum, logs = expected(mine, BINS, SEGMENTS)
        assert np.array_equal(window.counts, counts)
        assert np.array_equal(window.score_sum, score_sum)
        assert np.allclose(window.log_sum / FIXED_ONE, logs, rtol=0, atol=LOG_ERROR)
        assert (window.count, window.width_ms) == (len(mine), WIDTH_MS)
        assert window.late == sum(row["flags"] == Flag.LATE for row in mine)
        # Each event is in one cell of each field, and in one segment of each dimension.
        assert window.counts[0].sum() == len(mine) * len(BINS.fields)
        assert window.counts.sum() == len(mine) * len(BINS.fields) * (1 + len(TABLE))


def merged(made: Iterable[dict[str, Any]]) -> dict[Place, list[Any]]:
    """Return the sums of windows over summaries: arrays and whole numbers, as bytes."""
    found: dict[Place, WindowCells] = {}
    totals: dict[Place, Int64] = {}
    for summary in made:
        raw = summary["windows"]
        for window, plain in zip(read_windows(summary, CELLS), raw, strict=True):
            place = window.partition, window.start
            numbers = np.array(
                [plain[name] for name in ("count", "review", "block", "late", "amount_minor_sum")]
                + [*plain["score_bins"], *plain["amount_bins"]]
                + [*window.score_sum, *window.log_sum, *window.counts.ravel()]
            )
            totals[place] = totals.get(place, np.zeros(len(numbers), np.int64)) + numbers
            found[place] = window
    return {place: [total.tobytes(), found[place].width_ms] for place, total in totals.items()}


@settings(max_examples=examples(100), deadline=None)
@given(rows, st.lists(st.integers(0, 40), max_size=6), st.randoms(use_true_random=False))
def test_any_cut_and_order_of_merging_gives_the_same_bits(
    drawn: list[dict[str, Any]], cuts: list[int], chance: Any
) -> None:
    places = sorted({min(cut, len(drawn)) for cut in cuts} | {0, len(drawn)})
    parts = [drawn[a:b] for a, b in pairwise(places)]
    made = [summary_of(decided(part), BINS, SEGMENTS) for part in parts]
    chance.shuffle(made)
    together = merged([summary_of(decided(drawn), BINS, SEGMENTS)])
    assert merged(made) == {place: together[place] for place in merged(made)}
    assert len(merged(made)) == len(together)
    # The sum in double precision is one of whole numbers, too.
    sums = dict.fromkeys(together, 0.0)
    for summary in made:
        for window in summary["windows"]:
            sums[window["partition"], window["start"]] += window["score_sum"]
    (whole,) = [summary_of(decided(drawn), BINS, SEGMENTS)]
    assert sums == {(w["partition"], w["start"]): w["score_sum"] for w in whole["windows"]}


def test_without_a_reference_segments_are_still_summed() -> None:
    drawn = [full(n, score=0.25, amount_minor=0) for n in range(8)]
    made = summary_of(decided(drawn), None, SEGMENTS)
    (window,) = made["windows"]
    assert (made["reference"], window["cells"]) == ("", b"")
    (read,) = read_windows(made, CELLS)
    assert read.counts.shape == (0, 0)
    assert read.score_sum[0] == 2 * FIXED_ONE
    assert read.score_sum[1:].sum() == 2 * FIXED_ONE * len(TABLE)
    plain = summary_of(decided(drawn), None, NO_SEGMENTS)
    assert plain["segments"] == []
    (alone,) = read_windows(plain, 0)
    assert alone.score_sum.tolist() == [2 * FIXED_ONE]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0.0, 0), (0.1, 0), (np.nextafter(0.1, 1), 1), (0.5, 4), (0.95, 9), (1.0, 9),
        (np.nextafter(1.0, 2), 11), (-1e-300, 11), (np.inf, 11), (-np.inf, 11), (np.nan, 10),
    ],
)  # fmt: skip
def test_a_value_at_an_edge_is_in_the_bin_below_it(value: float, cell: int) -> None:
    edges = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    field = WatchedField("f", NUMBER, "feature:0", edges, 0.0, 1.0, ())
    decisions = decided([full(0, features=[value])])
    counts, _, _ = columns_of(decisions, ReferenceBins("", (field,)), NO_SEGMENTS).counted()
    assert counts.tolist() == [[int(k == cell) for k in range(NUMBER_CELLS)]]


def test_bins_of_few_values_are_padded_with_infinity() -> None:
    edges = np.array([0.0, *[np.inf] * 8])
    field = WatchedField("f", NUMBER, "feature:0", edges, 0.0, 1.0, ())
    decisions = decided([full(n, features=[float(n > 1)]) for n in range(5)])
    counts, _, _ = columns_of(decisions, ReferenceBins("", (field,)), NO_SEGMENTS).counted()
    assert counts[0, :3].tolist() == [2, 3, 0]


def test_a_column_that_events_do_not_have_is_missing() -> None:
    fields = (
        number("old", "column:old", 0.0, 1.0), number("shop", "column:shop", 0.0, 1.0),
        number("gift", "column:gift", 0.0, 1.0),
        WatchedField("gone", 1, "column:gone", np.empty(0), 0.0, 0.0, ("a",)),
    )  # fmt: skip
    decisions = decided([full(n) for n in range(3)])
    counts, _, _ = columns_of(decisions, ReferenceBins("", fields), NO_SEGMENTS).counted()
    # A text where a number was is missing, a boolean is 1 or 0.
    assert np.flatnonzero(counts[0]).tolist() == [10, 12 + 10, 24 + 9, 36 + 1]
    assert counts.max() == 3


def test_a_feature_that_the_model_does_not_have_is_refused() -> None:
    bins = ReferenceBins("", (number("f", "feature:3", 0.0, 1.0),))
    with pytest.raises(ValueError, match="watches feature 3 of a model with 3 features"):
        columns_of(decided([full(0)]), bins, NO_SEGMENTS)


@pytest.mark.parametrize("place", ["-1", "", "x", "1.5"])
def test_a_feature_without_a_column_is_refused(place: str) -> None:
    bins = ReferenceBins("", (number("f", f"feature:{place}", 0.0, 1.0),))
    with pytest.raises(ValueError, match=f"'feature:{place}' is not a feature's column"):
        columns_of(decided([full(0)]), bins, NO_SEGMENTS)


def many(count: int, features: int) -> DecisionBatch:
    """Return decisions of one window that are as different as they can be."""
    chance = np.random.default_rng(1)
    kinds = (["POS", "ECOM", "MOTO"], [True, False, None], ["a", "b", None])
    return decided(
        [
            full(
                n, event_time=NOW, score=float(chance.random()), outcome=int(chance.integers(3)),
                amount_minor=int(chance.integers(0, 30_000)),
                channel=kinds[0][n % 3], gift=kinds[1][n // 3 % 3], shop=kinds[2][n // 9 % 3],
                features=chance.random(features).tolist(),
            )
            for n in range(count)
        ]
    )  # fmt: skip


def twenty_segments() -> Segments:
    """Return 20 segments in three dimensions, with the one of all events."""
    return segments(
        {"channel": ["POS", "ECOM", "MOTO", "ATM", "X", "Y"], "shop": list("abcde"),
         "amount": [20.0, 50.0, 100.0, 200.0, 250.0]}
    )  # fmt: skip


def test_a_summary_of_100_events_has_at_most_20_kilobytes() -> None:
    chosen = twenty_segments()
    assert chosen.count == 20
    made = summary_of(many(100, 15), bins_of(15), chosen)
    identity = FileRegistry(SCHEMAS_DIRECTORY).id_for(
        "summaries-value", reader_schema("summary.v4")
    )
    data = RecordCodec(identity, reader_schema("summary.v4")).encode(made)
    # All fields differ: 4 memberships x 21 fields, of which few events share a cell.
    assert 4_000 < len(data) <= 20_000


def test_a_record_is_decoded_to_the_same_counts() -> None:
    made = summary_of(many(50, FEATURES), BINS, SEGMENTS)
    registry, schema = FileRegistry(SCHEMAS_DIRECTORY), reader_schema("summary.v4")
    codec = RecordCodec(registry.id_for("summaries-value", schema), schema)
    read = codec.decode(codec.encode(made), registry)
    (before,), (after,) = read_windows(made, CELLS), read_windows(read, CELLS)
    assert np.array_equal(before.counts, after.counts)
    assert np.array_equal(before.log_sum, after.log_sum)
    assert (before.start, before.late) == (after.start, after.late)


def test_records_end_at_the_limits_of_cells_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [full(n, event_time=NOW + n * WIDTH_MS) for n in range(9)]
    monkeypatch.setattr(summaries, "SUMMARY_CELLS_MOST", 4 * SEGMENTS.count * CELLS + 1)
    monkeypatch.setattr(summary_reading, "SUMMARY_CELLS_MOST", 4 * SEGMENTS.count * CELLS + 1)
    made = records_of(decided(drawn))
    assert [len(record["windows"]) for record in made] == [4, 4, 1]
    assert sum(len(list(read_windows(record, CELLS))) for record in made) == 9
    too_many = made[0] | {"windows": made[0]["windows"] + made[1]["windows"]}
    with pytest.raises(ValueError, match="summary: 8 windows with 11 segments of"):
        next(read_windows(too_many, CELLS))
    monkeypatch.setattr(summaries, "SUMMARY_CELLS_MOST", 1)
    assert [len(record["windows"]) for record in records_of(decided(drawn))] == [1] * 9
    monkeypatch.undo()
    (window, *_) = made[0]["windows"]
    size = 260 + len(window["cells"]) + len(window["sums"])
    monkeypatch.setattr(summaries, "MOST_BYTES", 3 * size)
    assert [len(record["windows"]) for record in records_of(decided(drawn))] == [3, 3, 3]


def records_of(decisions: DecisionBatch) -> list[dict[str, Any]]:
    events = decisions.events
    read = InputRecords(events.partition, events.offset, events.timestamp)
    (made,) = summarize(read, [SummaryInput(decisions, WIDTH_MS, BINS, SEGMENTS)])
    return made
