"""Cases of the differential test with LightGBM, in memory and in files; needs numpy only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A trained model, and the scores that LightGBM gives its rows.

    Attributes:
        text: The file's content.
        rows: float64[n, m].
        sums: float64[n], raw scores of the booster that is loaded from the text.
        trained_sums: float64[n], raw scores of the trained booster, for the same rounds.
        probabilities: float64[n], of the loaded booster.
        fraud_class: The class to import.
    """

    text: str
    rows: Float64
    sums: Float64
    trained_sums: Float64
    probabilities: Float64
    fraud_class: str | None


def save(path: Path, case: Case) -> None:
    """Write a case to a file of numpy."""
    np.savez_compressed(
        path,
        text=np.frombuffer(case.text.encode(), np.uint8),
        rows=case.rows,
        sums=case.sums,
        trained_sums=case.trained_sums,
        probabilities=case.probabilities,
        fraud_class=np.array(case.fraud_class or ""),
    )


def read(path: Path) -> Case:
    """Return a case that was written."""
    with np.load(path) as file:
        return Case(
            file["text"].tobytes().decode(),
            file["rows"],
            file["sums"],
            file["trained_sums"],
            file["probabilities"],
            str(file["fraud_class"]) or None,
        )
