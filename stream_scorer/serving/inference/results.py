"""What the core decided for the rows of a request, and the outputs that show it."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.reasons import REASONS_MOST
from stream_scorer.core.events.batch import Outcome
from stream_scorer.serving.inference.refusals import invalid, shown

Float64 = NDArray[np.float64]

SCORE: Final = "score"
"""Output: the calibrated score of each row, FP64[n]; NaN (JSON: null) where the model failed."""
OUTCOME: Final = "outcome"
"""Output: the outcome of each row by the bundle's thresholds, BYTES[n]."""
REASONS: Final = "reasons"
"""Output on request: the reasons of each row, BYTES[n, 3]; empty texts where there are fewer."""

OUTPUTS: Final = (SCORE, OUTCOME)
"""The outputs of a request that names none."""
KNOWN_OUTPUTS: Final = (*OUTPUTS, REASONS)
_NAMES: Final = tuple(outcome.name for outcome in sorted(Outcome))
_ENCODED: Final = tuple(name.encode() for name in _NAMES)


class RowResults(msgspec.Struct, frozen=True):
    """What the core decided for n rows.

    Attributes:
        score: float64[n]; NaN where the model failed.
        outcome: uint8[n], values of ``Outcome``.
        reasons: Reason codes by row, for rows that are not approved; empty if they were not needed.
        failed: Number of rows for which the model failed.
        failure: Text of the first failure, for the operator.
    """

    score: Float64
    outcome: NDArray[np.uint8]
    reasons: dict[int, tuple[str, ...]]
    failed: int = 0
    failure: str = ""

    def part(self, begin: int, end: int) -> "RowResults":
        """Return the results of the rows from ``begin`` to ``end`` - 1, numbered from 0.

        Failures are counted once, for the complete batch.
        """
        reasons: dict[int, tuple[str, ...]] = {}
        if self.reasons:
            rows = range(begin, end)
            reasons = {row - begin: self.reasons[row] for row in rows if row in self.reasons}
        return RowResults(self.score[begin:end], self.outcome[begin:end], reasons)

    def outcome_names(self) -> list[str]:
        """Return the outcomes as text."""
        return [_NAMES[value] for value in self.outcome.tolist()]

    def texts(self, output: str) -> list[bytes]:
        """Return the elements of a BYTES output, in row-major order."""
        if output == OUTCOME:
            return [_ENCODED[value] for value in self.outcome.tolist()]
        return [text.encode() for text in self.reason_texts()]

    def reason_texts(self) -> list[str]:
        """Return the n * 3 reasons in row-major order."""
        out: list[str] = []
        for row in range(len(self.score)):
            codes = self.reasons.get(row, ())
            out += codes
            out += [""] * (REASONS_MOST - len(codes))
        return out

    def shape(self, output: str) -> list[int]:
        """Return the shape of an output."""
        return [len(self.score), REASONS_MOST] if output == REASONS else [len(self.score)]


def data_type_of(output: str) -> str:
    """Return the data type of an output."""
    return "FP64" if output == SCORE else "BYTES"


def check_outputs(names: Sequence[str]) -> None:
    """Refuse outputs that no model has, and names that are requested twice.

    Raises:
        InferenceRefused: The message names the output.
    """
    for name in names:
        if name not in KNOWN_OUTPUTS:
            raise invalid(f"unknown output {shown(name)}: known: {', '.join(KNOWN_OUTPUTS)}")
    if len(set(names)) != len(names):
        raise invalid("an output is requested twice")
