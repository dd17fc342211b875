"""Matured decisions, the windows that they are in, and what is measured there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Outcome

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

ALL = "all"
"""Segment of all decisions; bit 0 of :attr:`MaturedRows.segments`."""


@dataclass(frozen=True, slots=True, eq=False)
class MaturedRows:
    """n matured decisions of one day (UTC) of event time.

    Attributes:
        version: int32[n], number of the model version in the day's own list.
        arm: uint8[n], number of the arm in the day's own list.
        segments: uint64[n], a bit for each segment that the decision is in; bit 0 is always set.
        score: float64[n], probability of fraud; NaN where the model failed.
        amount: float64[n], in units of the currency.
        weight: float64[n], inverse of the probability that its label can be known: 1 / p where it
            was let through, 0 where it is blocked and could have been let through, otherwise 1;
            times the factor of the customers' sample.
        outcome: uint8[n], the policy's, values of ``core.events.batch.Outcome``.
        state: uint8[n], GENUINE, FRAUD or UNKNOWN of ``core.labelling.contract``.
        card: uint64[n], hash of the customer.
        bucket: int32[n], the customer's bucket of 10,000.
        drawn: bool[n], whether it was drawn at random, for review or by letting it through.
        pi: float64[n], the probability of that draw; 0 if there was none.
        event_time: int64[n], ms.
    """

    version: Int32
    arm: UInt8
    segments: UInt64
    score: Float64
    amount: Float64
    weight: Float64
    outcome: UInt8
    state: UInt8
    card: UInt64
    bucket: Int32
    drawn: Bool
    pi: Float64
    event_time: Int64

    def __len__(self) -> int:
        return len(self.version)

    def take(self, rows: Int64 | Bool) -> "MaturedRows":
        """Return some decisions.

        Args:
            rows: int64[k], their indices, in the order that is returned; or bool[n].
        """
        return MaturedRows(*(getattr(self, each.name)[rows] for each in fields(self)))

    @staticmethod
    def joined(pieces: Sequence["MaturedRows"]) -> "MaturedRows":
        """Return the decisions of one or more pieces, in their order."""
        if len(pieces) == 1:
            return pieces[0]
        return MaturedRows(
            *(
                np.concatenate([getattr(piece, each.name) for piece in pieces])
                for each in fields(MaturedRows)
            )
        )


@dataclass(frozen=True, slots=True)
class LossCosts:
    """Costs of single decisions, in units of the currency; as of ``rollout.evidence.costs``.

    Attributes:
        most: Upper bound of each cost.
        missed_share: Share of an approved fraud's amount that is lost.
        missed_fixed: Fixed cost of every approved fraud, in addition.
        review: Cost of a review; a reviewed fraud counts as found.
        false_block: Cost of blocking a genuine transaction.
    """

    most: float = 200.0
    missed_share: float = 1.0
    missed_fixed: float = 0.0
    review: float = 5.0
    false_block: float = 25.0

    @property
    def revealed_most(self) -> float:
        """Upper bound of a cost that a label reveals, in the loss by drawn decisions.

        With a few large costs, a few draws say little. So they are clipped at the cost of a false
        block, or if that is 0, at an eighth of the largest cost.
        """
        return min(self.false_block, self.most) or self.most / 8

    def missed(self, amount: Float64) -> Float64:
        """Return float64[n], the bounded cost of approving frauds.

        Args:
            amount: float64[n], in units of the currency; NaN and negative ones count as 0.
        """
        worth = np.maximum(np.nan_to_num(amount), 0.0)
        return np.minimum(self.missed_share * worth + self.missed_fixed, self.most)

    def of(self, amount: Float64, fraud: Bool, outcome: UInt8) -> Float64:
        """Return float64[n], the bounded cost of decisions.

        Args:
            amount: float64[n], in units of the currency.
            fraud: bool[n].
            outcome: uint8[n], values of ``core.events.batch.Outcome``.
        """
        cost = np.where(fraud & (outcome == Outcome.APPROVE), self.missed(amount), 0.0)
        cost += min(self.review, self.most) * (outcome == Outcome.REVIEW)
        return cost + min(self.false_block, self.most) * ((outcome == Outcome.BLOCK) & ~fraud)


@dataclass(frozen=True, slots=True, order=True)
class WindowKey:
    """A window of one model version, arm and segment.

    Attributes:
        model: Name of the model.
        version: Its version.
        arm: The arm that decided.
        segment: Name of the segment, or :data:`ALL`.
        start: Start of the window, ms since the epoch, inclusive.
        end: End of the window, exclusive.
    """

    model: str
    version: str
    arm: str
    segment: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured in a window.

    Attributes:
        key: The window.
        rows: Matured decisions.
        frauds: Those that are frauds.
        genuine: Those that are genuine.
        unknown: Those of which neither is known; ``rows`` is the sum of the three.
        effective: Effective sample size: (sum of weights)^2 / sum of squared weights.
        outside: Share of the decisions that are blocked, without a label and outside the estimand.
        sampled: 1 if all customers are counted; n if one of n is, by hash.
        values: Measures by name; NaN where one is not defined, for example without a fraud.
        low: Lower ends of their 95 % intervals; a measure without one is missing.
        high: Upper ends, likewise.
        calibration: float64[10, 3]: mean score, share of frauds (both weighted; NaN without a row)
            and sum of weights of ten equal bands of scores.
    """

    key: WindowKey
    rows: int
    frauds: int
    genuine: int
    unknown: int
    effective: float
    outside: float
    sampled: int
    values: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    calibration: Float64
