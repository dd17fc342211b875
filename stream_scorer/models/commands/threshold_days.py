"""The days of labelled data on which thresholds are chosen, and those on which they are checked."""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.policy import decide, policy_for
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import STRING_FIELDS
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.errors import SettingsError
from stream_scorer.training.budget import JudgedDays
from stream_scorer.training.days import Days, number_of
from stream_scorer.training.labelled import LabelledData, amounts_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]

_DAY_MS = 86_400_000
_FEWEST_DAYS = 7
"""If fewer such days with a complete history remain, all days are used, and that is reported."""
_READ = ("amount_minor", BASE_AMOUNT, *STRING_FIELDS)
"""The columns of a transaction that policies read, apart from extra fields."""


@dataclass(frozen=True, slots=True)
class ScoredDays:
    """Scored transactions of some days, on which thresholds are chosen or checked.

    Attributes:
        events: n transactions.
        scores: float64[n].
        judged: Their days, labels and amounts.
        held: The range from the first to the last day.
    """

    events: EventBatch
    scores: Float64
    judged: JudgedDays
    held: Days

    def outcomes(self, plan: Plan, model: Model) -> UInt8:
        """Return uint8[n], the outcomes under a plan."""
        policy = policy_for(self.events, plan, model.thresholds, model.on_model_error)
        return decide(self.scores, policy.thresholds)


class DaySelection:
    """Selects days of labelled data; the model's training days are never selected.

    Args:
        data: The transactions.
        asked: Days on which to choose thresholds; None: all days with their complete history.
        check_days: Number of days after them for the check.
        features: Their longest window determines how much history a day needs.
        fitted: The days on which the model was fitted; None for an imported model.

    Attributes:
        chosen: bool[n], the transactions on which thresholds are chosen.

    Raises:
        SettingsError: No day is left.
    """

    def __init__(
        self, data: LabelledData, asked: Days | None, check_days: int, features: FeatureSet,
        fitted: Days | None,
    ) -> None:  # fmt: skip
        self._day = data.time // _DAY_MS
        self._held = Days.of(self._day)
        self._check_days = check_days
        engine = features.engine
        history = engine.retention.horizon_ms - engine.retention.lateness_ms
        self._history_days = math.ceil(max(history, engine.delayed.longest_ms) / _DAY_MS)
        self._fitted = fitted
        complete_from = self._held.first + timedelta(days=self._history_days)
        wanted = asked or self._held
        if asked is None and self._unfitted(complete_from, self._held.last) >= _FEWEST_DAYS:
            wanted = Days(complete_from, self._held.last)
        self._wanted = wanted
        held = wanted.holds(self._day)
        held &= ~self._was_fitted(self._day)
        if not held.any():
            fitted_on = "" if fitted is None else f", and the model was fitted on {fitted}"
            raise SettingsError(
                f"data: none of {wanted} is left: they are of {self._held}{fitted_on}",
                "name other days: --days FIRST:LAST",
            )
        self.chosen: Mask = held
        self._chosen_days = Days.of(self._day[held])
        numbers = np.unique(self._day[held])
        self._number = len(numbers)
        self._incomplete = int((numbers < number_of(complete_from)).sum())

    def _unfitted(self, first: date, last: date) -> int:
        """Return the number of days that the model was not fitted on; 0 if ``last`` comes first."""
        numbers = np.arange(number_of(first), number_of(last) + 1)
        return int((~self._was_fitted(numbers)).sum())

    def _was_fitted(self, numbers: Int64) -> Mask:
        """Return bool[n]: on which of some days the model was fitted."""
        if self._fitted is None:
            return np.zeros(len(numbers), np.bool_)
        return self._fitted.holds(numbers)

    def after(self) -> Mask:
        """Return bool[n]: the transactions of the days on which the choice is checked."""
        last = number_of(self._chosen_days.last)
        later: Mask = (self._day > last) & (self._day <= last + self._check_days)
        later &= ~self._was_fitted(self._day)
        return later

    def scored(self, rows: Mask, data: LabelledData, scores: Float64, plan: Plan) -> ScoredDays:
        """Return the scored transactions of ``rows``; training days between them do not count."""
        held = Days.of(self._day[rows])
        numbers = np.arange(number_of(held.first), number_of(held.last) + 1)
        numbers = numbers[~self._was_fitted(numbers)]
        read = [name for name in data.table.column_names if name in _READ or name in plan.extras]
        table = data.table.select(read).filter(pa.array(rows)).combine_chunks()
        judged = JudgedDays(
            np.searchsorted(numbers, self._day[rows]), len(numbers),
            data.table["is_fraud"].to_numpy()[rows].astype(np.int64),
            in_units(amounts_of(table), plan.minor_per_unit),
        )  # fmt: skip
        at = np.flatnonzero(rows)
        events = EventBatch(table.to_batches()[0], np.zeros(len(at), np.int32), at, data.time[rows])
        return ScoredDays(events, scores[rows], judged, held)

    def told(self) -> dict[str, Any]:
        """Return the chosen days, for the report."""
        fitted = self._fitted
        overlap = (self._wanted.holds(self._day) & self._was_fitted(self._day)).any()
        return {
            "days": str(self._chosen_days),
            "number_of_days": self._number,
            "training_days_left_out": str(fitted) if overlap else None,
            "days_with_incomplete_history": self._incomplete,
        }
