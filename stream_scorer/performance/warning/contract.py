"""The loss of a day, what it was before, and the warning that it has risen.

All losses are in [0, 1]: the cost of a decision, clipped at the largest cost of the plan
(``costs.most``), divided by it. So 0.01 is a hundredth of the largest cost per decision.
"""

from dataclasses import dataclass

from stream_scorer.performance.measures.contract import WindowKey


@dataclass(frozen=True, slots=True)
class DayLoss:
    """The mean loss of one day, or of several days that had too few matured decisions.

    Attributes:
        key: The window.
        rows: Matured decisions.
        loss: Mean loss per decision, in [0, 1]. Weights are clipped, which can only lower it.
        powered: The same from the rows that were drawn at random, by prediction-powered inference;
            NaN without such rows. It may be below 0 or above 1.
        drawn: Rows that were drawn at random.
        missing: Those of them without a label in time; their loss counts as 0.
    """

    key: WindowKey
    rows: int
    loss: float
    powered: float
    drawn: int
    missing: int


@dataclass(frozen=True, slots=True)
class LossReference:
    """The loss of a model version on days on which it was good.

    Attributes:
        mean: Mean of the days' losses.
        high: Upper bound of that mean, by a bootstrap over weeks.
        phi: Autocorrelation of consecutive days; a negative one counts as 0.
        scale: Standard deviation of a day's residual.
        days: Number of days.
        most: The largest cost, in units of the currency: a loss of 1.
    """

    mean: float
    high: float
    phi: float
    scale: float
    days: int
    most: float


@dataclass(frozen=True, slots=True)
class Warned:
    """An early warning.

    Attributes:
        key: The window that caused it.
        log_e: Natural logarithm of the evidence.
        klass: Class of distributions for which it holds: ``guaranteed`` (any), ``gaussian``
            (sub-Gaussian residuals) or ``powered`` (sub-Gaussian means of days, random draws).
        onset: Estimated start of the change, ms since the epoch.
        loss: The window's loss; of ``powered``, of what labels reveal.
        tolerance: The rise of the mean loss that does not matter.
    """

    key: WindowKey
    log_e: float
    klass: str
    onset: int
    loss: float
    tolerance: float
