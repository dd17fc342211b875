"""River's FHDDM: a sliding window of errors (Pesaranghader and Viktor, 2016)."""

from typing import Any

from river.drift.binary import FHDDM

from stream_scorer.drift.detection.river.adapter import RiverDetector
from stream_scorer.drift.detection.shifts.detector import Alarms
from stream_scorer.ports import Float64


class FhddmDetector(RiverDetector):
    """Gives each stream a River FHDDM.

    Args:
        streams: Number of streams.
        options: Options of River's class; its defaults otherwise.
    """

    def __init__(self, streams: int, **options: Any) -> None:
        made: Any = FHDDM  # River's classes carry no types
        super().__init__(streams, lambda: made(**options), 144)

    def update(self, values: Float64) -> Alarms:
        """Add one step of errors (1) and successes (0); River's FHDDM counts successes."""
        return super().update(1 - values)
