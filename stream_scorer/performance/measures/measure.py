"""All measures of a window, with intervals by leaving out a twentieth of the customers at a time.

*The interval* is the jackknife's: a measure is computed 20 times, each time without the customers
of one group by hash. With v(j) of group j, the standard error is sqrt(19 / 20 * sum (v(j) -
mean)^2), and the interval is the measure plus and minus 2.09 of them (Student's t, 19 degrees of
freedom). It is deterministic, and a customer's transactions stay together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.performance.measures.cards import CardPrecision
from stream_scorer.performance.measures.contract import (
    Float64,
    Int64,
    LossCosts,
    MaturedRows,
    Measured,
    WindowKey,
)
from stream_scorer.performance.measures.ranking import Ranking, average_precision, recall

GROUPS: Final = 20
BANDS: Final = 10
_T: Final = 2.093024054408263
"""97.5 % quantile of Student's t with 19 degrees of freedom."""
_DAY_MS: Final = 86_400_000
_SHARES: Final = frozenset(
    {
        "average_precision", "recall_at_1_percent_fpr", "card_precision", "value_recall",
        "block_precision", "review_precision", "brier", "calibration_error",
    }
)  # fmt: skip
"""Measures that cannot leave [0, 1], so their intervals end there."""
_TOTALS: Final = frozenset({"cost_saved"})
NAMES: Final = (
    "average_precision", "recall_at_1_percent_fpr", "card_precision", "value_recall",
    "block_precision", "review_precision", "cost_saved", "cost_saved_share", "brier",
    "calibration_error",
)  # fmt: skip
"""Names of all measures."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """Parameters of the measures.

    Attributes:
        costs: Costs of the decisions.
        cards_per_day: The k of the card precision.
    """

    costs: LossCosts = field(default_factory=LossCosts)
    cards_per_day: int = 100


def measure(rows: MaturedRows, key: WindowKey, measuring: Measuring, sampled: int = 1) -> Measured:
    """Measure a window.

    Decisions of which it is not known whether they are frauds are counted, and not measured.
    Without a score a decision is in no measure of scores.

    Args:
        rows: n decisions of the window, of one version, arm and segment.
        key: The window.
        measuring: Costs, and the k of the card precision.
        sampled: n if one of n customers is counted, by hash. Then the card precision is NaN.
    """
    known = (rows.state != UNKNOWN) & (rows.weight > 0)
    used = rows.take(known)
    measures = _Measures(used, measuring, cards=sampled == 1)
    values = measures.of(used.weight)
    low, high = _intervals(used, measures, values)
    return Measured(
        key,
        len(rows),
        int((rows.state == FRAUD).sum()),
        int((rows.state == GENUINE).sum()),
        int((rows.state == UNKNOWN).sum()),
        _effective(used.weight),
        _outside(rows),
        sampled,
        values,
        low,
        high,
        measures.calibration(used.weight),
    )


def _effective(weight: Float64) -> float:
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def _outside(rows: MaturedRows) -> float:
    """Return the share of decisions that are blocked, unknown, and could not be let through."""
    blocked = (rows.outcome == Outcome.BLOCK) & (rows.state == UNKNOWN) & (rows.weight > 0)
    return float(blocked.mean()) if len(rows) else 0.0


class _Measures:
    """The measures of decisions that are known, for many weightings."""

    def __init__(self, rows: MaturedRows, measuring: Measuring, *, cards: bool) -> None:
        self._fraud = rows.state == FRAUD
        self._outcome = rows.outcome
        self._scored = np.flatnonzero(np.isfinite(rows.score))
        self._score = rows.score[self._scored]
        fraud = self._fraud[self._scored]
        self._ranking = Ranking.of(self._score, fraud)
        self._true = fraud.astype(np.float64)
        self._band = np.minimum((self._score * BANDS).astype(np.int64), BANDS - 1)
        worth = np.maximum(np.nan_to_num(rows.amount), 0.0)
        self._value = np.where(self._fraud, worth, 0.0)
        costs = measuring.costs
        self._missed = np.where(self._fraud, costs.missed(rows.amount), 0.0)
        self._saved = self._missed - costs.of(rows.amount, self._fraud, rows.outcome)
        self._card: Callable[[Float64], float] = lambda _: math.nan
        if cards:
            day: Int64 = rows.event_time[self._scored] // _DAY_MS
            card = rows.card[self._scored]
            k = measuring.cards_per_day
            self._card = CardPrecision(self._score, fraud, card, day, k).of

    def of(self, weight: Float64) -> dict[str, float]:
        """Return the measures by name; NaN where one is not defined."""
        scored = weight[self._scored]
        found, false = self._ranking.counts(scored)
        alerted = self._outcome != Outcome.APPROVE
        bands = self.calibration(weight)
        used = bands[:, 2] > 0
        missed = float((weight * self._missed).sum())
        saved = float((weight * self._saved).sum())
        gaps = np.abs(bands[used, 0] - bands[used, 1])
        return {
            "average_precision": average_precision(found, false),
            "recall_at_1_percent_fpr": recall(found, false),
            "card_precision": self._card(scored),
            "value_recall": _ratio(weight * self._value, alerted),
            "block_precision": self._precision(weight, Outcome.BLOCK),
            "review_precision": self._precision(weight, Outcome.REVIEW),
            "cost_saved": saved,
            "cost_saved_share": saved / missed if missed > 0 else math.nan,
            "brier": _mean((self._score - self._true) ** 2, scored),
            "calibration_error": _mean(gaps, bands[used, 2]),
        }

    def calibration(self, weight: Float64) -> Float64:
        """Return float64[10, 3], as of :class:`Measured`."""
        scored = weight[self._scored]
        held = np.bincount(self._band, scored, BANDS)
        bands = np.full((BANDS, 3), np.nan)
        bands[:, 2] = held
        used = held > 0
        for column, each in enumerate((self._score, self._true)):
            total = np.bincount(self._band, scored * each, BANDS)
            bands[used, column] = total[used] / held[used]
        return bands

    def _precision(self, weight: Float64, outcome: Outcome) -> float:
        mine = self._outcome == outcome
        return _mean(self._fraud[mine].astype(np.float64), weight[mine])


def _ratio(value: Float64, chosen: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> float:
    total = float(value.sum())
    return float(value[chosen].sum()) / total if total > 0 else math.nan


def _mean(value: Float64, weight: Float64) -> float:
    total = float(weight.sum())
    return float((value * weight).sum()) / total if total > 0 else math.nan


def _intervals(
    rows: MaturedRows, measures: _Measures, values: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return lower and upper ends of the intervals; a measure without one is missing."""
    group = (rows.card >> np.uint64(32)) % np.uint64(GROUPS)
    left_out: dict[str, list[float]] = {name: [] for name in values}
    if len(np.unique(group)) < GROUPS:
        return {}, {}
    for number in range(GROUPS):
        without = np.where(group == number, 0.0, rows.weight)
        for name, value in measures.of(without).items():
            scale = GROUPS / (GROUPS - 1) if name in _TOTALS else 1.0
            left_out[name].append(value * scale)
    low, high = {}, {}
    for name, found in left_out.items():
        spread = np.array(found)
        if not np.isfinite(spread).all() or not math.isfinite(values[name]):
            continue
        error = math.sqrt((GROUPS - 1) / GROUPS * float(((spread - spread.mean()) ** 2).sum()))
        low[name], high[name] = values[name] - _T * error, values[name] + _T * error
        if name in _SHARES:
            low[name], high[name] = max(low[name], 0.0), min(high[name], 1.0)
    return low, high
