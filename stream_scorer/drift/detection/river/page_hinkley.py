"""River's PageHinkley: cumulative deviations from a running mean (Page, 1954)."""

from typing import Any, Final

from river import drift

from stream_scorer.drift.detection.river.contract import OnlineDetector, Registered

_DELTA: Final = 0.25
"""Half of the smallest change that is looked for, in standard deviations."""


def page_hinkley(threshold: float) -> OnlineDetector:
    """Return a PageHinkley for changes in both directions.

    Args:
        threshold: Sum of deviations, in standard deviations, above which there is a change.
    """
    made: Any = drift.PageHinkley  # River's classes carry no types
    detector: OnlineDetector = made(delta=_DELTA, threshold=threshold)
    return detector


PAGE_HINKLEY: Final = Registered(
    page_hinkley, "threshold", ((1_170.0, 10.0), (3_226.0, 12.0), (9_302.0, 14.0), (22_222.0, 16.0))
)
