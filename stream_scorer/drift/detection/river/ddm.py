"""River's DDM: the error rate against its lowest so far (Gama et al., 2004)."""

from typing import Any

from river.drift.binary import DDM

from stream_scorer.drift.detection.river.adapter import RiverDetector


class DdmDetector(RiverDetector):
    """Gives each stream a River DDM.

    Args:
        streams: Number of streams.
        options: Options of River's class; its defaults otherwise.
    """

    def __init__(self, streams: int, **options: Any) -> None:
        made: Any = DDM  # River's classes carry no types
        super().__init__(streams, lambda: made(**options), 16)
