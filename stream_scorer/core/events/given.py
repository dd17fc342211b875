"""Decisions that come with their transactions: made elsewhere, verified by the caller."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GivenVersion:
    """The version that made some of the decisions.

    Attributes:
        model: Its name.
        version: Its version.
        engine: Version of the meaning of its features.
        features: Number of its features.
    """

    model: str
    version: str
    engine: int
    features: int


@dataclass(frozen=True, slots=True)
class GivenDecisions:
    """The decisions of k rows of a batch.

    Attributes:
        row: int64[k], rows of the batch, ascending.
        maker: int32[k], index in ``makers``.
        makers: The versions that made them.
        score: float64[k]; NaN where the model failed.
        outcome: uint8[k], values of ``Outcome``.
        model_outcome: uint8[k], the outcome by the model's own thresholds, NO_OUTCOME where it
            failed.
        flags: uint8[k], bits of ``Flag`` that the decision has, whatever this process finds.
        watermark: int64[k], newest time of terminal rows that could be used, ms; NEVER for none.
        features: By maker, float64[k_i, m_i]: the features of its rows, in their order.
        reasons: Reason codes by row of the batch, for rows that have any.
    """

    row: Int64
    maker: NDArray[np.int32]
    makers: tuple[GivenVersion, ...]
    score: Float64
    outcome: UInt8
    model_outcome: UInt8
    flags: UInt8
    watermark: Int64
    features: tuple[Float64, ...]
    reasons: dict[int, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.row)

    def at(self, rows: Int64) -> "GivenDecisions":
        """Return the decisions of some rows of the batch, numbered by their places in ``rows``.

        Args:
            rows: int64[r], row numbers of the batch, ascending.
        """
        kept = np.flatnonzero(np.isin(self.row, rows))
        place = np.searchsorted(rows, self.row[kept])
        number = {int(self.row[at]): int(to) for at, to in zip(kept, place, strict=True)}
        features = tuple(
            table[np.isin(np.flatnonzero(self.maker == index), kept)]
            for index, table in enumerate(self.features)
        )
        return GivenDecisions(
            place.astype(np.int64), self.maker[kept], self.makers, self.score[kept],
            self.outcome[kept], self.model_outcome[kept], self.flags[kept], self.watermark[kept],
            features,
            {number[row]: codes for row, codes in self.reasons.items() if row in number},
        )  # fmt: skip
