"""Plausibility checks for summaries: any client that may write to their topic chooses the numbers.

A reader calls them before it adds a summary's counts to others.
"""

from collections.abc import Mapping
from typing import Any, Final

_WIDTH_MOST_MS: Final = 400 * 24 * 3_600_000
_COUNT_MOST: Final = 2**31
_NAME_MOST: Final = 1_024
"""Characters; a reader keeps the names of the model versions that it has seen."""


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
    for window in summary["windows"]:
        _refuse_window(window)


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
