"""The rules by which a version is retrained: the contents of ``retrain.toml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Choice = tuple[float | int | str | bool, ...]
"""Values of a parameter of which one is taken."""


@dataclass(frozen=True, slots=True)
class SearchRange:
    """A range of a parameter that is searched.

    Attributes:
        low: Smallest value.
        high: Largest value; greater than ``low``.
        log: Whether its logarithm is uniform; then ``low`` is above 0.
        whole: Whether values are whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class MaturedSplit:
    """Days of a retraining, counted back from the last day whose labels have all matured.

    Attributes:
        train: Maximum number of days on which the model is fitted.
        validation: Number of days, after these, on which thresholds are chosen.
        test: Number of days, last, on which champion and challenger are compared.
        since_onset: Whether the training days begin at the onset of the alarm, if it is later.
    """

    train: int
    validation: int
    test: int
    since_onset: bool


@dataclass(frozen=True, slots=True)
class RetrainRules:
    """The contents of ``retrain.toml``, checked.

    Attributes:
        model: Name of the estimator, as in ``train``.
        features: File with declarations of features, relative to that of the rules; None: the
            features are those of the champion.
        space: What is searched, by parameter of the estimator.
        trials: Number of trials of a search.
        seed: Of the search and the estimators.
        cost: Cost of one retraining, in units of the currency.
        horizon_days: Days over which that cost must pay. With decisions a day, both give the rise
            of the loss per decision that does not matter.
        least_frauds: Minimum number of matured frauds since the onset.
        least_days: Minimum number of matured days since the onset.
        cooldown_days: Minimum time between two retrainings, in days.
        schedule: Five fields of cron, in UTC; empty: no schedule.
        days: How the matured days are divided.
        ramp: The canary's stages, in per cent of customers, ascending; the first is 0, a shadow.
    """

    model: str
    features: Path | None
    space: Mapping[str, SearchRange | Choice]
    trials: int
    seed: int
    cost: float
    horizon_days: int
    least_frauds: int
    least_days: int
    cooldown_days: float
    schedule: str
    days: MaturedSplit
    ramp: tuple[float, ...]
