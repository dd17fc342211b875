"""All detectors by name. A new detector is one file, and one line here."""

from typing import Final

from stream_scorer.drift.detection.river.adwin import AdwinDetector
from stream_scorer.drift.detection.river.ddm import DdmDetector
from stream_scorer.drift.detection.river.eddm import EddmDetector
from stream_scorer.drift.detection.river.fhddm import FhddmDetector
from stream_scorer.drift.detection.river.hddm import HddmDetector
from stream_scorer.drift.detection.river.kswin import KswinDetector
from stream_scorer.drift.detection.river.page_hinkley import PageHinkleyDetector
from stream_scorer.drift.detection.shifts.calibrated import CalibratedDetector
from stream_scorer.drift.detection.shifts.detector import Detector
from stream_scorer.drift.detection.shifts.e_detector import EDetector

DETECTORS: Final[dict[str, type[Detector]]] = {
    "e_detector": EDetector,
    "calibrated": CalibratedDetector,
    "page_hinkley": PageHinkleyDetector,
    "kswin": KswinDetector,
    "adwin": AdwinDetector,
    "ddm": DdmDetector,
    "eddm": EddmDetector,
    "fhddm": FhddmDetector,
    "hddm": HddmDetector,
}
