"""The loss of a day: sums that can be added, so that days with few decisions can be pooled."""

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.performance.measures.contract import Bool, LossCosts, MaturedRows, WindowKey
from stream_scorer.performance.warning.contract import DayLoss

LEAST_ROWS: Final = 200
"""Decisions of a day; with fewer it is pooled with the next one."""


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums over decisions.

    A *revealed* loss is one that only a label shows: of an approved fraud, or of a genuine
    transaction that would have been blocked. It is clipped at ``LossCosts.revealed_most``.

    Attributes:
        rows: Decisions that count: known ones, and blocked ones that could have been let through.
        loss: Sum of their losses, each in [0, 1].
        revealed: Sum of revealed losses; of drawn decisions: in units of the largest one.
        exposure: What the mean revealed loss is multiplied by to give the expected ``revealed``.
        drawn: Decisions that were drawn at random, and have or need a label.
        missing: Those of them without a label in time.
    """

    rows: int = 0
    loss: float = 0.0
    revealed: float = 0.0
    exposure: float = 0.0
    drawn: int = 0
    missing: int = 0

    def plus(self, other: "LossSums") -> "LossSums":
        """Return the sums of both."""
        return LossSums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def mean(self) -> float:
        """The mean loss; NaN without a decision."""
        return self.loss / self.rows if self.rows else float("nan")

    @property
    def revealed_mean(self) -> float:
        """The mean revealed loss; 0 without a decision that could show one."""
        return self.revealed / self.exposure if self.exposure else 0.0


def matured_loss(rows: MaturedRows, costs: LossCosts, sampled: int = 1) -> LossSums:
    """Return the loss of matured decisions.

    A weighted cost is clipped at ``costs.most``. That can only lower the loss, so a warning's error
    stays within its budget.

    Args:
        rows: n decisions.
        costs: Their costs.
        sampled: n if one of n customers is counted; it is a part of the weights.
    """
    weight = rows.weight / sampled
    counted = (rows.state != UNKNOWN) | (rows.weight <= 0)
    cost = np.where(rows.state == UNKNOWN, 0.0, costs.of(rows.amount, rows.state == FRAUD,
                                                         rows.outcome))  # fmt: skip
    loss = np.minimum(cost * weight, costs.most)[counted]
    shown = _reveals(rows) & ((rows.state != UNKNOWN) | (rows.weight <= 0))
    seen = shown & (rows.outcome != Outcome.REVIEW)
    revealed = np.minimum(cost, costs.revealed_most) * weight
    return LossSums(
        int(counted.sum()), float(loss.sum()) / costs.most,
        float(revealed[seen].sum()) / costs.most, float(shown.sum()),
    )  # fmt: skip


def powered_loss(rows: MaturedRows, costs: LossCosts) -> LossSums:
    """Return the loss by decisions that were drawn at random, each weighted by 1 / its probability.

    The cost of a review is known without a label. Of the rest, only a drawn decision has a loss,
    which is divided by the probability of its draw; a missing label counts as no loss. So labels of
    decisions that were not drawn change nothing: early reports of frauds only cannot alarm.

    Args:
        rows: n decisions, with the states that are known at the age of a review.
        costs: Their costs.
    """
    reviewed = rows.outcome == Outcome.REVIEW
    counted = _reveals(rows)
    looked_at = counted & rows.drawn & ~reviewed & (rows.pi > 0)
    labelled = (rows.state == FRAUD) | (rows.state == GENUINE)
    cost = costs.of(rows.amount, rows.state == FRAUD, rows.outcome)
    chance = np.where(rows.pi > 0, rows.pi, 1.0)
    found = np.where(looked_at & labelled, cost, 0.0)
    loss = np.where(reviewed, cost, found / chance)[counted]
    # The largest probability is known before the draws. Rarer draws count as little as it.
    largest = float(rows.pi[counted & ~reviewed].max(initial=0.0))
    revealed = np.minimum(found, costs.revealed_most) / costs.revealed_most
    exposure = float(counted.sum()) * largest * costs.most / costs.revealed_most
    return LossSums(
        int(counted.sum()), float(loss.sum()) / costs.most, float(revealed.sum()), exposure,
        int(looked_at.sum()), int((looked_at & ~labelled).sum()),
    )  # fmt: skip


def _reveals(rows: MaturedRows) -> Bool:
    """Return bool[n], decisions that are not blocked, or that a draw could have let through."""
    return (rows.outcome != Outcome.BLOCK) | (rows.pi > 0)


def day_loss(key: WindowKey, sums: LossSums, powered: LossSums) -> DayLoss:
    """Return a day's loss.

    Args:
        key: The window.
        sums: Of :func:`matured_loss`.
        powered: Of :func:`powered_loss`; without draws its loss is NaN.
    """
    mean = powered.mean if powered.exposure else float("nan")
    return DayLoss(key, sums.rows, sums.mean, mean, powered.drawn, powered.missing)
