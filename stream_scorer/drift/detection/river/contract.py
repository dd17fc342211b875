"""The interface of River's detectors, and what registers one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class OnlineDetector(Protocol):
    """A detector that gets one value at a time, as River's are."""

    @property
    def drift_detected(self) -> bool:
        """Whether the newest value completed the evidence for a change."""

    def update(self, x: float) -> None:
        """Add a value."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A detector with the settings that were measured for it.

    Attributes:
        make: Makes a detector with a setting. It depends on nothing but the values that it gets.
        option: Name of the setting: the option of River's class.
        measured: Mean number of independent values of variance 1 between two false detections, and
            the setting; shortest first. The part ``river`` of ``bench/drift.py`` measures it.
        locates: Whether the detector compares the means of two parts of its values, so that the
            place and the size of a change are told.
    """

    make: Callable[[float], OnlineDetector]
    option: str
    measured: tuple[tuple[float, float], ...]
    locates: bool = False

    def chosen(self, run_length: float) -> tuple[float, float]:
        """Return the run length that was measured, and the setting, of those that are measured.

        It is the most sensitive setting with a run length; the least sensitive one if the wanted
        run length is beyond all. Then the one that was measured is shorter than the wanted one.

        Args:
            run_length: Wanted number of values between two false detections.
        """
        return next((each for each in self.measured if each[0] >= run_length), self.measured[-1])
