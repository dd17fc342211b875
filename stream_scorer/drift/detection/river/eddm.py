"""River's EDDM: the distance between errors (Baena-García et al., 2006)."""

from typing import Any

from river.drift.binary import EDDM

from stream_scorer.drift.detection.river.adapter import RiverDetector


class EddmDetector(RiverDetector):
    """Gives each stream a River EDDM.

    Args:
        streams: Number of streams.
        options: Options of River's class; its defaults otherwise.
    """

    def __init__(self, streams: int, **options: Any) -> None:
        made: Any = EDDM  # River's classes carry no types
        super().__init__(streams, lambda: made(**options), 24)
