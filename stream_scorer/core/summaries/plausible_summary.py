"""Plausibility checks for summaries: any client that may write to their topic chooses the numbers.

A reader calls them before it adds a summary's counts to others.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stream_scorer.core.events.segment_table import NAME_LONGEST
from stream_scorer.core.summaries.summary_layout import CELLS_MOST, SEGMENTS_MOST

_WIDTH_MOST_MS: Final = 400 * 24 * 3_600_000
_COUNT_MOST: Final = 2**31
_NAME_MOST: Final = 1_024
"""Characters; a reader keeps the names of the model versions that it has seen."""
_CELLS_MOST: Final = 4 * SEGMENTS_MOST * CELLS_MOST
"""Bytes of the packed cells of a window; each cell takes 2 to 4 in a window of 2^21 decisions."""
_SUMS_MOST: Final = 25 * SEGMENTS_MOST
_SUM_COUNT_MOST: Final = 2**25
"""Maximum number of decisions of a window with sums: each adds less than 44 * 2^32 to a sum of
logarithms, so those of one summary fit into 64 bits. Of several, a reader checks it."""
_ARRIVALS_MOST: Final = 4_000
_REASONS_MOST: Final = 100
_REASON_LONGEST: Final = 64
_DIGEST: Final = re.compile("([0-9a-f]{16})?")


def refuse_implausible(summary: Mapping[str, Any]) -> None:
    """Refuse counts that no batch can have.

    Args:
        summary: A record of the summary schema.

    Raises:
        ValueError: The counts contradict each other, or the name of the model version is too long;
            the message names which.
    """
    if any(len(summary.get(name, "")) > _NAME_MOST for name in ("model", "model_version")):
        raise ValueError(
            f"summary: the name of a model version has more than {_NAME_MOST} characters"
        )
    counts = [summary.get("records", 0), summary.get("skipped", 0)]
    for name in ("rejected", "flagged"):
        counts += summary.get(name, {}).values()
    if not all(0 <= count <= _COUNT_MOST for count in counts):
        raise ValueError("summary: no batch has so many records")
    for source in summary.get("sources", ()):
        if source["partition"] < 0 or not 0 <= source["first_offset"] <= source["next_offset"]:
            raise ValueError(f"summary: partition {source['partition']} has no such offsets")
    _refuse_layout(summary.get("reference", ""), summary.get("segments", ()))
    for window in summary["windows"]:
        _refuse_window(window)
        _refuse_packed(window)
    arrivals = summary.get("arrivals", ())
    if len(arrivals) > _ARRIVALS_MOST:
        raise ValueError(f"summary: more than {_ARRIVALS_MOST} windows of arrival")
    for arrival in arrivals:
        _refuse_arrival(arrival)


def _refuse_layout(digest: str, segments: Sequence[str]) -> None:
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError("summary: reference must be 16 hexadecimal digits, or empty")
    if len(segments) >= SEGMENTS_MOST or len(set(segments)) < len(segments):
        raise ValueError(f"summary: segments must be {SEGMENTS_MOST - 1} different names at most")
    if not all(0 < len(name) <= NAME_LONGEST and name.isprintable() for name in segments):
        raise ValueError(
            f"summary: the name of a segment must have 1 to {NAME_LONGEST} printable characters"
        )


def _refuse_packed(window: Mapping[str, Any]) -> None:
    cells, sums = len(window.get("cells", b"")), len(window.get("sums", b""))
    if cells > _CELLS_MOST or sums > _SUMS_MOST:
        raise ValueError(f"summary: a window with {cells} bytes of cells and {sums} of sums")
    if sums and window["count"] > _SUM_COUNT_MOST:
        raise ValueError(f"summary: a window of {window['count']} decisions cannot have sums")
    if not 0 <= window.get("late", 0) <= window["count"]:
        raise ValueError(f"summary: more than {window['count']} decisions of a window are late")


def _refuse_arrival(arrival: Mapping[str, Any]) -> None:
    records, rejected = arrival["records"], arrival["rejected"]
    if arrival["partition"] < 0 or not 0 < arrival["width_ms"] <= _WIDTH_MOST_MS:
        raise ValueError(f"summary: a window of arrival is {arrival['width_ms']} ms wide")
    if len(rejected) > _REASONS_MOST or min(rejected.values(), default=0) < 0:
        raise ValueError("summary: a window of arrival with fewer dead letters than none")
    if any(len(reason) > _REASON_LONGEST for reason in rejected):
        raise ValueError(f"summary: a reason has more than {_REASON_LONGEST} characters")
    if not 0 < records <= _COUNT_MOST or arrival["late"] < 0:
        raise ValueError(f"summary: a window of arrival of {records} records")
    if arrival["late"] + sum(rejected.values()) > records:
        raise ValueError(f"summary: a window of arrival of {records} records does not add up")


def _refuse_window(window: Mapping[str, Any]) -> None:
    count = window["count"]
    if not 0 < window["width_ms"] <= _WIDTH_MOST_MS:
        raise ValueError(f"summary: a window is {window['width_ms']} ms wide")
    if not 0 < count <= _COUNT_MOST or not 0 <= window["review"] + window["block"] <= count:
        raise ValueError(f"summary: a window of {count} decisions does not add up")
    if min(window["review"], window["block"]) < 0:
        raise ValueError("summary: a window of fewer decisions than none")
    # A score is between 0 and 1, and NaN is not added. The sum is rounded. A sum that is NaN fails
    # this comparison, too.
    if not abs(window["score_sum"]) <= count + 1:
        raise ValueError(f"summary: {count} scores cannot have the sum {window['score_sum']}")
    least, most = window["amount_minor_min"], window["amount_minor_max"]
    if not count * least <= window["amount_minor_sum"] <= count * most:
        raise ValueError(f"summary: {count} amounts of {least} to {most} cannot have that sum")
    # A score that is NaN is in no bin.
    for name, exact in (("score_bins", False), ("amount_bins", True)):
        bins = window[name]
        if bins and (min(bins) < 0 or sum(bins) > count or (exact and sum(bins) < count)):
            raise ValueError(f"summary: {name} do not add up to {count} decisions")
