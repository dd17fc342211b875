"""A summary that no scorer makes is refused; older summaries are read."""

import math
from typing import Any

import pytest

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder
from stream_scorer.core.summaries.plausible_summary import refuse_implausible
from stream_scorer.core.summaries.segments import NO_SEGMENTS
from stream_scorer.core.summaries.summary_reading import read_arrivals, read_windows
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.core.watched import (
    DIGEST,
    FEATURES,
    TABLE,
    bins_of,
    decided,
    full,
    segments,
    summary_of,
)

FILES = FileRegistry(SCHEMAS_DIRECTORY)
IDS = {"summary.v1": 4, "summary.v2": 10, "summary.v3": 12, "summary.v4": 13}
ARRIVAL: dict[str, Any] = {
    "partition": 0, "start": 0, "width_ms": 1_000, "records": 5, "late": 1,
    "rejected": {"EMPTY": 4},
}  # fmt: skip


def made() -> dict[str, Any]:
    return summary_of(decided([full(n) for n in range(5)]), bins_of(FEATURES), segments(TABLE))


def test_a_summary_that_a_scorer_makes_is_plausible() -> None:
    refuse_implausible(made())
    refuse_implausible(made() | {"arrivals": [ARRIVAL]})
    longest = {"segments": [f"{n:0100}" for n in range(63)], "reference": ""}
    refuse_implausible(made() | longest)


@pytest.mark.parametrize(
    "changed",
    [
        {"reference": DIGEST[1:]}, {"reference": DIGEST.upper()}, {"reference": DIGEST + "0"},
        {"reference": f"{DIGEST[:-1]}\n"}, {"segments": [f"s{n}" for n in range(64)]},
        {"segments": ["a", "a"]}, {"segments": [""]}, {"segments": ["x" * 101]},
        {"segments": ["a\nb"]}, {"arrivals": [ARRIVAL] * 4_001},
    ],
)  # fmt: skip
def test_a_layout_that_no_scorer_writes_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="summary: "):
        refuse_implausible(made() | changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"cells": bytes(4 * 64 * 2_048 + 1)}, {"sums": bytes(1_601)}, {"late": -1}, {"late": 6},
        {"count": 2**25 + 1, "amount_minor_min": 0, "amount_minor_max": 2**30, "amount_bins": []},
    ],
)  # fmt: skip
def test_packed_counts_that_no_scorer_writes_are_refused(changed: dict[str, Any]) -> None:
    summary = made()
    summary["windows"][0] |= changed
    with pytest.raises(ValueError, match=r"summary: .*(window|late)"):
        refuse_implausible(summary)


@pytest.mark.parametrize("total", [math.nan, math.inf, -math.inf, 6.1, -6.1])
def test_a_sum_of_scores_that_no_scorer_writes_is_refused(total: float) -> None:
    summary = made()
    summary["windows"][0]["score_sum"] = total
    with pytest.raises(ValueError, match="5 scores cannot have the sum"):
        refuse_implausible(summary)


@pytest.mark.parametrize(
    "changed",
    [
        {"partition": -1}, {"width_ms": 0}, {"width_ms": 2**62}, {"records": 0}, {"records": -1},
        {"records": 2**32}, {"late": -1}, {"late": 2}, {"rejected": {"EMPTY": 5}},
        {"rejected": {"EMPTY": -1}}, {"rejected": {"x" * 65: 1}},
        {"rejected": {f"{n}": 0 for n in range(101)}},
    ],
)  # fmt: skip
def test_arrivals_that_no_scorer_writes_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="summary: "):
        refuse_implausible(made() | {"arrivals": [ARRIVAL | changed]})


@pytest.mark.parametrize("schema", ["summary.v1", "summary.v2", "summary.v3"])
def test_older_summaries_are_read_without_cells_and_arrivals(schema: str) -> None:
    data = RecordCodec(IDS[schema], reader_schema(schema)).encode(made())
    read = RecordDecoder(FILES, reader_schema("summary.v4")).decode(data)
    refuse_implausible(read)
    assert (read["reference"], read["segments"], read["arrivals"]) == ("", [], [])
    (window,) = read_windows(read, 99)
    assert (window.count, window.late, window.counts.shape) == (5, 0, (0, 0))
    assert window.score_sum.tolist() == window.log_sum.tolist() == [0]
    assert list(read_arrivals(read)) == []


def test_an_older_reader_reads_the_counts_of_a_new_summary() -> None:
    summary = made()
    data = RecordCodec(IDS["summary.v4"], reader_schema("summary.v4")).encode(summary)
    read = RecordDecoder(FILES, reader_schema("summary.v2")).decode(data)
    refuse_implausible(read)
    assert read["windows"][0]["score_sum"] == summary["windows"][0]["score_sum"] == 2.5
    assert "cells" not in read["windows"][0]
    plain = summary_of(decided([full(0)]), None, NO_SEGMENTS)
    refuse_implausible(plain)
