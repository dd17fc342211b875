"""River's KSWIN: two samples of a window, compared by their distributions (Raab et al., 2020).

The samples are drawn at random. Here the draw depends only on the number of values since the last
drift, so that a restored detector draws as it would have without a restart.
"""

import random
from typing import Any

from river.drift import KSWIN

from stream_scorer.drift.detection.river.adapter import RiverDetector

_WIDTH = 240
_River: Any = KSWIN  # River's classes carry no types


class _Reproducible(_River):
    """KSWIN whose random numbers are not part of its state."""

    def update(self, x: float) -> None:
        """Add one value."""
        self._rng = random.Random(self.n)  # noqa: S311 no secret
        super().update(x)
        del self._rng

    def _reset(self) -> None:
        super()._reset()
        self._rng = random.Random(0)  # noqa: S311 no secret


class KswinDetector(RiverDetector):
    """Gives each stream a River KSWIN.

    Args:
        streams: Number of streams.
        options: Options of River's class, without ``seed``; its defaults otherwise.
    """

    def __init__(self, streams: int, **options: Any) -> None:
        made: Any = _Reproducible  # River's classes carry no types

        def make() -> Any:
            detector = made(**options)
            del detector._rng  # noqa: SLF001 it is made anew for each value
            return detector

        super().__init__(streams, make, _WIDTH)
