"""River's detectors by name. A new one is one file, and one line here."""

from collections.abc import Mapping
from typing import Final

from stream_scorer.drift.detection.river.adwin import ADWIN
from stream_scorer.drift.detection.river.contract import Registered
from stream_scorer.drift.detection.river.kswin import KSWIN
from stream_scorer.drift.detection.river.page_hinkley import PAGE_HINKLEY

DETECTORS: Final[Mapping[str, Registered]] = {
    "adwin": ADWIN,
    "page_hinkley": PAGE_HINKLEY,
    "kswin": KSWIN,
}
