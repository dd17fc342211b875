"""The wording of the two promises: the one that is guaranteed, the one that is calibrated."""

from collections.abc import Mapping
from typing import Any


def guaranteed_promise(budget: Mapping[str, Any]) -> str:
    """Return the guaranteed promise with the numbers of a budget."""
    return (
        f"Guaranteed: over all streams of a model version that are in the class, the mean time to "
        f"a false alarm is at least {_windows(budget, 'guaranteed_windows')}. It holds for window "
        "means between 0 and 1 whose conditional mean, given all earlier windows, stays within "
        "the tolerance of the reference's band, whatever the dependence within a window and "
        f"between streams. A band misses its mean with probability {_number(budget['eta'])}. "
        "Streams with autocorrelation or a season are not in the class."
    )


def calibrated_promise(budget: Mapping[str, Any]) -> str:
    """Return the calibrated promise with the numbers of a budget."""
    return (
        f"Calibrated: thresholds are set so that the mean time to a false alarm over all streams "
        f"of a model version is near {_windows(budget, 'calibrated_windows')}, with the "
        "autocorrelation, the season and the length of each stream's reference taken into account. "
        "It is measured, not proven. Both together give about one false alarm of each model "
        f"version in {_number(budget['false_alarm_days'])} days."
    )


def _windows(budget: Mapping[str, Any], name: str) -> str:
    count = budget[name]
    if count is None:
        return "an unknown number of windows"
    days = count * budget["window_ms"] / 86_400_000
    return f"{count:,.0f} windows ({days:,.0f} days)"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}"
