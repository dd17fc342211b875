"""A model of another library with its own scores, as a file of numpy; needs numpy only."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

NO_ROWS = np.zeros((0, 0))
NO_SCORES = np.zeros(0)


@dataclass(frozen=True)
class Example:
    """A model file, rows, and the scores that its own library gives them.

    Attributes:
        name: The configuration.
        version: The library's.
        model: The model file.
        other_model: The same model in the library's other format; empty if there is none.
        rows: float64[n, m]; no row if the model must be refused.
        margins: float64[k, n], of each of k oracles; no oracle if the model has probabilities only.
        probabilities: float64[n], of the fraud class.
        exact: Whether the probabilities must have the same bits.
        rounds: The option of the import; empty if it is not given.
        fraud_class: The same.
        missing: The same; NaN if it is not given.
        refusal: What the refusal must name, as a regular expression; empty if the model is
            supported.
    """

    name: str
    version: str
    model: bytes
    other_model: bytes = b""
    rows: Float64 = field(default_factory=lambda: NO_ROWS)
    margins: Float64 = field(default_factory=lambda: NO_ROWS)
    probabilities: Float64 = field(default_factory=lambda: NO_SCORES)
    exact: bool = False
    rounds: str = ""
    fraud_class: str = ""
    missing: float = float("nan")
    refusal: str = ""


_FILES = ("model", "other_model")


def write(example: Example, path: Path) -> None:
    """Write an example to a file of numpy."""
    fields = {name: np.asarray(getattr(example, name)) for name in Example.__dataclass_fields__}
    fields |= {name: np.frombuffer(getattr(example, name), np.uint8) for name in _FILES}
    np.savez(path, **fields)  # type: ignore[arg-type]  # its annotation takes a flag, too


def read(path: Path) -> Example:
    """Return an example that was written."""
    with np.load(path) as file:
        fields = {name: file[name] for name in Example.__dataclass_fields__}
    for name, value in fields.items():
        if name in _FILES:
            fields[name] = value.tobytes()
        elif value.ndim == 0:
            fields[name] = value.item()
    return Example(**fields)
