"""River's HDDMA: Hoeffding bounds on error rates (Frías-Blanco et al., 2015)."""

from typing import Any

from river.drift.binary import HDDMA

from stream_scorer.drift.detection.river.adapter import RiverDetector


class HddmDetector(RiverDetector):
    """Gives each stream a River HDDMA.

    Args:
        streams: Number of streams.
        options: Options of River's class; its defaults otherwise.
    """

    def __init__(self, streams: int, **options: Any) -> None:
        made: Any = HDDMA  # River's classes carry no types
        super().__init__(streams, lambda: made(**options), 24)
