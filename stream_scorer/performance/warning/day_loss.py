"""The loss of a day: sums that can be added, so that days with few decisions can be pooled."""

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.performance.measures.contract import LossCosts, MaturedRows, WindowKey
from stream_scorer.performance.warning.contract import DayLoss

LEAST_ROWS: Final = 200
"""Decisions of a day; with fewer it is pooled with the next one."""


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums over decisions.

    Attributes:
        rows: Decisions that count: known ones, and blocked ones that could have been let through.
        loss: Sum of their losses, each in [0, 1].
        drawn: Those that were drawn at random, and have or need a label.
        missing: Those of them without a label in time.
    """

    rows: int = 0
    loss: float = 0.0
    drawn: int = 0
    missing: int = 0

    def plus(self, other: "LossSums") -> "LossSums":
        """Return the sums of both."""
        return LossSums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def mean(self) -> float:
        """The mean loss; NaN without a decision."""
        return self.loss / self.rows if self.rows else float("nan")


def matured_loss(rows: MaturedRows, costs: LossCosts, sampled: int = 1) -> LossSums:
    """Return the loss of matured decisions.

    A weighted cost is clipped at ``costs.most``. That can only lower the loss, so a warning's error
    stays within its budget.

    Args:
        rows: n decisions.
        costs: Their costs.
        sampled: n if one of n customers is counted; it is a part of the weights.
    """
    counted = (rows.state != UNKNOWN) | (rows.weight <= 0)
    cost = costs.of(rows.amount, rows.state == FRAUD, rows.outcome)
    known = np.where(rows.state == UNKNOWN, 0.0, cost) * rows.weight / sampled
    loss = np.minimum(known, costs.most)[counted]
    return LossSums(int(counted.sum()), float(loss.sum()) / costs.most)


def powered_loss(rows: MaturedRows, costs: LossCosts) -> LossSums:
    """Return the loss by decisions that were drawn at random, each weighted by 1 / its probability.

    The cost of a review is known without a label. Of the rest, only a drawn decision has a loss,
    which is divided by the probability of its draw; a missing label counts as no loss. So labels of
    decisions that were not drawn change nothing: early reports of frauds only cannot alarm.

    Args:
        rows: n decisions, with the states that are known at the age of a review.
        costs: Their costs.
    """
    blocked = rows.outcome == Outcome.BLOCK
    reviewed = rows.outcome == Outcome.REVIEW
    counted = ~blocked | (rows.pi > 0)
    looked_at = rows.drawn & ~reviewed & (rows.pi > 0)
    labelled = (rows.state == FRAUD) | (rows.state == GENUINE)
    cost = costs.of(rows.amount, rows.state == FRAUD, rows.outcome)
    weight = np.where(looked_at & labelled, 1.0 / np.where(rows.pi > 0, rows.pi, 1.0), 0.0)
    loss = np.where(reviewed, cost, cost * weight)[counted]
    return LossSums(
        int(counted.sum()), float(loss.sum()) / costs.most,
        int(looked_at.sum()), int((looked_at & ~labelled).sum()),
    )  # fmt: skip


def day_loss(key: WindowKey, sums: LossSums, powered: LossSums) -> DayLoss:
    """Return a day's loss.

    Args:
        key: The window.
        sums: Of :func:`matured_loss`.
        powered: Of :func:`powered_loss`; without draws its loss is NaN.
    """
    mean = powered.mean if powered.drawn else float("nan")
    return DayLoss(key, sums.rows, sums.mean, mean, powered.drawn, powered.missing)
