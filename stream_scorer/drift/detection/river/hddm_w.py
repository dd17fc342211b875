"""River's detectors of a rising share of errors: HDDM_W (Frías-Blanco et al., 2015), and DDM.

They get single errors, 0 or 1, of decisions whose labels have matured. Frauds come in bursts of
weeks, so their settings promise nothing about false detections. They are a second opinion.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river.drift import binary

_River: Any = binary  # River's classes carry no types

STABLE, WARNING, DRIFT = "stable", "warning", "drift"
ERROR_DETECTORS: Final[Mapping[str, Callable[[], Any]]] = {
    "hddm_w": _River.HDDMW,
    "ddm": _River.DDM,
}
"""How to make each detector, by its name."""


def state_after(name: str, wrong: NDArray[np.bool_]) -> str:
    """Return what a new detector says of errors: ``drift`` if it found a change among them.

    Args:
        name: One of :data:`ERROR_DETECTORS`.
        wrong: bool[n], errors in the order of time.

    Returns:
        ``stable``, ``warning`` (as of the last error) or ``drift``.
    """
    detector = ERROR_DETECTORS[name]()
    found = False
    for each in wrong.tolist():
        detector.update(each)
        found = found or bool(detector.drift_detected)
    if found:
        return DRIFT
    return WARNING if getattr(detector, "warning_detected", False) else STABLE
