"""River's PageHinkley: cumulative deviations from a running mean (Page, 1954)."""

from typing import Any

from river.drift import PageHinkley

from stream_scorer.drift.detection.river.adapter import RiverDetector


class PageHinkleyDetector(RiverDetector):
    """Gives each stream a River PageHinkley.

    Args:
        streams: Number of streams.
        options: Options of River's class; its defaults otherwise.
    """

    def __init__(self, streams: int, **options: Any) -> None:
        made: Any = PageHinkley  # River's classes carry no types
        super().__init__(streams, lambda: made(**options), 16)
