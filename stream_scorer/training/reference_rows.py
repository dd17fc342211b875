"""The rows of labelled data from which the reference of drift detection is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import model_scores
from stream_scorer.core.decision.policy import Thresholds, decide, policy_for
from stream_scorer.core.events.batch import EventBatch, Outcome
from stream_scorer.core.events.policy_table import STRING_FIELDS
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.reference_statistics import Reference, reference_of
from stream_scorer.models.reference.build import (
    BuiltReference,
    ReferenceJob,
    build_reference,
    divides_days,
    has_history,
)
from stream_scorer.models.reference.rows import ReferenceRows
from stream_scorer.ports import Predictor
from stream_scorer.training.days import Days
from stream_scorer.training.labelled import DayRows, LabelledData

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
_DAY_MS = 86_400_000
_READ = ("event_time", "amount_minor", BASE_AMOUNT, "currency", "card_present", *STRING_FIELDS)


@dataclass(frozen=True, slots=True)
class ReferenceDays:
    """The days of a reference's rows.

    Attributes:
        training: Days on which the model was fitted; None for an imported model, whose features are
            counted on the held days.
        held: Ranges of days on which it was not fitted, for score and outcome.
    """

    training: Days | None
    held: Sequence[Days]

    def check(self) -> None:
        """Refuse held days on which the model was fitted.

        Raises:
            SettingsError: The ranges overlap.
        """
        for days in self.held:
            fitted = self.training
            if fitted is not None and days.first <= fitted.last and fitted.first <= days.last:
                raise SettingsError(
                    f"held days {days}: the model was fitted on {fitted}, so its scores there are "
                    "too good",
                    "name days after them: --held FIRST:LAST",
                )


@dataclass(frozen=True, slots=True)
class DecidingModel:
    """What decides the held rows.

    Attributes:
        predictor: The model.
        thresholds: Its own; the plan's policy can replace them.
        on_model_error: Outcome of rows for which it fails.
    """

    predictor: Predictor
    thresholds: Thresholds
    on_model_error: Outcome = Outcome.REVIEW


@dataclass(frozen=True, slots=True)
class RowsOfReference:
    """The rows of a reference, and what it is made for."""

    rows: ReferenceRows
    job: ReferenceJob

    @property
    def possible(self) -> bool:
        """Whether enough rows have a complete history, and the plan's windows add up to days."""
        return divides_days(self.job.plan) and has_history(self.rows, self.job)


def reference_rows(
    data: LabelledData, days: ReferenceDays, model: DecidingModel, job: ReferenceJob
) -> RowsOfReference:
    """Return the rows of a reference, by event time.

    Args:
        data: Accepted transactions with the model's features.
        days: Which of them are counted.
        model: Decides the held rows.
        job: The version, its features and its plan; the segments are taken from the plan.

    Raises:
        SettingsError: Held days are training days, or the data have none of the held days.
    """
    days.check()
    order = np.argsort(data.time, kind="stable")
    time = data.time[order]
    number = time // _DAY_MS
    held = np.zeros(len(time), np.bool_)
    for part in days.held:
        held |= part.holds(number)
    if not held.any():
        listed = ", ".join(map(str, days.held))
        raise SettingsError(
            f"data: no transaction on {listed}, days on which the model was not fitted",
            "name other days: --held FIRST:LAST",
        )
    plan = job.plan
    read = [each for each in data.table.column_names if each in _READ or each in plan.extras]
    table = data.table.select(read).take(pa.array(order)).combine_chunks()
    events = EventBatch(table.to_batches()[0], np.zeros(len(time), np.int32), order, time)
    features = np.ascontiguousarray(data.features[order])
    rows = np.flatnonzero(held)
    score, outcome = np.full(len(time), np.nan), np.zeros(len(time), np.uint8)
    scored, failed, _ = model_scores(model.predictor, np.ascontiguousarray(features[rows]))
    policy = policy_for(events.take(rows), plan, model.thresholds, model.on_model_error)
    score[rows] = scored
    decided = decide(scored, policy.thresholds)
    decided[failed] = policy.on_model_error
    outcome[rows] = decided
    segments = segments_of(plan)
    rejected = {reason: count / data.rows for reason, count in data.rejected.items()}
    found = ReferenceRows(
        events=events, features=features, score=score, outcome=outcome,
        members=segments.members(events),
        training=held if days.training is None else days.training.holds(number),
        held=held, rejected=rejected,
    )  # fmt: skip
    return RowsOfReference(found, replace(job, segments=segments.names))


def make_reference(
    made_from: RowsOfReference, lap: Callable[[str], None] = lambda _: None
) -> BuiltReference:
    """Make the reference of a model version.

    Args:
        made_from: Its rows, from :func:`reference_rows`.
        lap: Called with each day, as an ISO date, after its rows are counted.

    Raises:
        SettingsError: Histories are not complete, the plan has too many segments, or its windows do
            not add up to hours and days.
    """
    job = made_from.job
    try:
        return build_reference(made_from.rows, job, lap)
    except ValueError as error:
        raise SettingsError(f"reference of {job.model}:{job.version}: {error}") from None


def statistics_of(names: tuple[str, ...], rows: DayRows, scores: Float64) -> Reference:
    """Return the distributions on the training days.

    Rows with weights are thinned by them, with a fixed seed.
    """
    weight = rows.rows.weight
    if weight is None:
        return reference_of(names, rows.features, scores)
    kept = np.random.default_rng(0).random(len(weight)) < weight / weight.max()
    return reference_of(names, rows.features[kept], scores[kept])
