"""The values of streams: levels, rates and shares of counts, exact in any order of addition."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    OUTCOME,
    TEXT,
    ReferenceBins,
    StreamKey,
    WatchedField,
)
from stream_scorer.models.reference.stream_values import (
    FIXED,
    LOGARITHM_MOST,
    StreamLayout,
    ranks_of,
    stream_keys,
)

Array = NDArray[Any]

INF = np.inf
EDGES = np.array([1.0, 2.0, 3.0, *[INF] * 6])


def number(name: str, source: str) -> WatchedField:
    return WatchedField(name, NUMBER, source, EDGES, 0.0, 9.0, ())


BINS = ReferenceBins(
    "0" * 16,
    (
        number("score", "score"),
        WatchedField("outcome", OUTCOME, "outcome", np.empty(0), 0, 0, ()),
        number("amount", "column:amount"),
        WatchedField("currency", TEXT, "column:currency", np.empty(0), 0, 0, ("EUR", "USD")),
        number("COUNT", "feature:0"),
    ),
)
CELLS = int(BINS.first_cell[-1])
RANKS = [
    ranks_of(field, np.array([40, 30, 20, 10, 0, 0, 0, 0, 0, 0, 5, 1])) for field in BINS.fields
]


def counts_of(**cells: list[int]) -> Array:
    """Return int64[1, c]: for each field, its counts; the rest is 0."""
    found = np.zeros((1, CELLS), np.int64)
    for field, first in zip(BINS.fields, BINS.first_cell, strict=False):
        given = cells.get(field.name, [])
        found[0, first : first + len(given)] = given
    return found


def value(field: str, measure: str, counts: Array, score: int = 0, log: int = 0) -> float:
    layout = StreamLayout(BINS, RANKS, ())
    values, _ = layout.values(counts, np.array([score]), np.array([log]))
    return float(values[layout.keys.index(StreamKey(field, measure, "all"))])


def test_the_reference_itself_has_the_level_one_half() -> None:
    counts = counts_of(COUNT=[40, 30, 20, 10])
    assert value("COUNT", "level", counts) == pytest.approx(0.5, abs=1e-6)


def test_a_level_is_the_mean_rank_of_its_bins() -> None:
    # The last bin has the ranks .9 to 1.
    assert value("COUNT", "level", counts_of(COUNT=[0, 0, 0, 7])) == pytest.approx(0.95, abs=1e-6)


def test_missing_and_strange_values_do_not_move_a_level() -> None:
    counts = counts_of(COUNT=[40, 30, 20, 10, 0, 0, 0, 0, 0, 0, 50, 50])
    assert value("COUNT", "level", counts) == pytest.approx(0.5, abs=1e-6)
    assert value("COUNT", "missing", counts) == 0.25
    assert value("COUNT", "out_of_range", counts) == 0.25
    # Of 150 values that are there, 10 are above the last edge and 50 out of range.
    assert value("COUNT", "tail", counts) == 0.4


def test_score_and_amount_are_means_of_their_sums() -> None:
    counts = counts_of(score=[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], amount=[4])
    # The row without a score is neither in the sum nor in the mean.
    assert value("score", "level", counts, score=int(1.5 * FIXED)) == 0.5
    log = int(12 * FIXED)
    assert value("amount", "level", counts, log=log) == 12 / (4 * LOGARITHM_MOST)


def test_shares_are_of_all_rows_of_their_field() -> None:
    counts = counts_of(outcome=[6, 3, 1], currency=[8, 1, 0, 1])
    assert value("outcome", "share:REVIEW", counts) == 0.3
    assert value("outcome", "share:BLOCK", counts) == 0.1
    assert value("currency", "share:EUR", counts) == 0.8
    assert value("currency", "unseen", counts) == 0.1


def test_a_segment_has_levels_outcomes_and_its_share() -> None:
    keys = [key for key in stream_keys(BINS, ("channel=web",)) if key.segment != "all"]
    assert [(key.field, key.measure) for key in keys] == [
        ("score", "level"), ("outcome", "share:REVIEW"), ("outcome", "share:BLOCK"),
        ("amount", "level"), ("COUNT", "level"), ("segment", "share"),
    ]  # fmt: skip
    layout = StreamLayout(BINS, RANKS, ("channel=web",))
    counts = np.concatenate([counts_of(amount=[8]), counts_of(amount=[2])])
    values, rows = layout.values(counts, np.zeros(2, np.int64), np.zeros(2, np.int64))
    share = layout.keys.index(StreamKey("segment", "share", "channel=web"))
    assert (values[share], rows[share]) == (0.25, 8)


def test_a_window_without_rows_has_no_value() -> None:
    layout = StreamLayout(BINS, RANKS, ())
    none = np.zeros(1, np.int64)
    values, rows = layout.values(counts_of(), none, none)
    assert np.isnan(values).all()
    assert not rows.any()


def test_fifteen_features_and_twenty_segments_are_480_streams() -> None:
    features = tuple(number(f"F{at}", f"feature:{at}") for at in range(15))
    bins = ReferenceBins("", (*BINS.fields[:3], *features))
    # 19 segments with 20 streams each; all events: 4 of the score, 2 outcomes, 3 of the amount.
    assert len(stream_keys(bins, [str(at) for at in range(19)])) == 19 * 20 + 9 + 15 * 4


def test_sums_are_exact_in_any_order() -> None:
    random = np.random.default_rng(1)
    parts = random.integers(0, 2**25, (40, 1, CELLS))
    layout = StreamLayout(BINS, RANKS, ())
    none = np.zeros(1, np.int64)
    whole, _ = layout.values(parts.sum(axis=0), none, none)
    # The same counts, as fields of a larger array: other strides, another order of addition.
    padded = np.zeros((3, 5, CELLS * 2), np.int64)[:, :1, ::2]
    padded[1, :, :] = parts.sum(axis=0)
    again, _ = layout.values(padded, np.zeros((3, 1), np.int64), np.zeros((3, 1), np.int64))
    assert again[1].tobytes() == whole.tobytes()
    weights = layout._weights * parts.sum(axis=0)[0][:, None]
    assert weights.sum(axis=0).max() < 2**53


def test_other_first_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="must begin with score, outcome, amount"):
        StreamLayout(ReferenceBins("", BINS.fields[1:]), RANKS[1:], ())
