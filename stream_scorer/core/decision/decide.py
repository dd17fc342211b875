"""Decide observed rows with one model: score, outcome, reasons and explanations.

The rows come from :mod:`~stream_scorer.core.decision.observe`. Which model decides which row is up
to :mod:`~stream_scorer.core.decision.decide_batch`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.policy import RowPolicy, Thresholds, decide, policy_for
from stream_scorer.core.decision.reasons import explain
from stream_scorer.core.events.batch import (
    NO_OUTCOME,
    DecisionBatch,
    EventBatch,
    Explanations,
    Outcome,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import Draws
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.summaries.summary_layout import ReferenceBins
from stream_scorer.core.terminals.history import TerminalTable, used_up_to
from stream_scorer.ports import Predictor

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
MODEL_ERROR = "MODEL_ERROR"
FEWEST_ROWS = 100
"""Minimum denominator of ``Plan.model_error_share``: a smaller batch counts as this many rows."""


class ModelFailure(Exception):  # noqa: N818 the name states what happened
    """The model failed for a larger share of a batch than the plan allows.

    Attributes:
        rows: Number of rows for which it failed.
        error: Text of the first error.
    """

    def __init__(self, rows: int, error: str) -> None:
        super().__init__(f"the model failed for {rows} rows: {error}")
        self.rows = rows
        self.error = error


@dataclass(frozen=True, slots=True)
class Model:
    """A deployed model version, ready to decide.

    Attributes:
        name: Its name.
        version: Its version.
        predictor: Scores rows.
        features: The features that it needs, compiled.
        thresholds: Where REVIEW and BLOCK begin. The plan's policy can replace them.
        on_model_error: Outcome of rows for which the predictor fails. The plan's policy can replace
            it.
        bins: The fields that its reference watches; None if it has no reference.
    """

    name: str
    version: str
    predictor: Predictor
    features: FeatureSet
    thresholds: Thresholds
    on_model_error: Outcome = Outcome.REVIEW
    bins: ReferenceBins | None = None


@dataclass(frozen=True, slots=True)
class ObservedRows:
    """Accepted transactions and their observed values: the input of a model.

    Attributes:
        events: k transactions.
        flags: uint8[k], bits of :class:`Flag`.
        observed: float64[k, w], what they see of their rings and terminals.
    """

    events: EventBatch
    flags: NDArray[np.uint8]
    observed: Float64

    def __len__(self) -> int:
        return len(self.events)

    def take(self, rows: Int64) -> "ObservedRows":
        """Return the given rows, in the given order."""
        return ObservedRows(self.events.take(rows), self.flags[rows], self.observed[rows])


def decide_rows(
    rows: ObservedRows, model: Model, plan: Plan, terminals: TerminalTable, lap: Callable[[str],
        None],
    stage: str = "score", draws: Draws | None = None,
) -> tuple[DecisionBatch, "Answers"]:  # fmt: skip
    """Decide observed rows with one model.

    Args:
        rows: k transactions.
        model: The model that decides.
        plan: What all models share.
        terminals: The known rows of terminals.
        lap: Called with the name of each finished stage.
        stage: Name of the stage in which the model scores.
        draws: The keys of the draws that the plan asks for; None: nothing is drawn, as in a file
            job.

    Returns:
        The decisions, and the model's results for the rows, before any draw.
    """
    features = model.features.compute(rows.events, rows.observed)
    lap("features")
    scores, failed, failure = model_scores(model.predictor, features)
    lap(stage)
    policy = policy_for(rows.events, plan, model.thresholds, model.on_model_error)
    made = answers(model, features, scores, failed, policy, failure)
    decisions = DecisionBatch(
        events=rows.events, score=made.score, outcome=made.outcome, flags=rows.flags,
        features=features, reasons=made.reasons,
        model=model.name, version=model.version, plan_revision=plan.revision,
        terminal_watermark=_terminal_watermark(rows.events, model.features, terminals),
        model_outcome=made.model_outcome, explanations=made.explanations,
        engine=model.features.version,
    )  # fmt: skip
    if draws is not None:
        decisions = draws.apply(decisions, plan)
    lap("decide")
    return decisions, made


@dataclass(frozen=True, slots=True)
class Answers:
    """The results of a model for n rows of features.

    Attributes:
        score: float64[n]; NaN for rows for which it failed.
        outcome: uint8[n], values of :class:`Outcome`.
        reasons: Reason codes by row, for rows whose outcome by score is not APPROVE, and
            ``MODEL_ERROR`` for rows for which the model failed.
        failed: bool[n], rows for which it failed. Their outcome is the policy's ``on_model_error``.
        failure: Text of the first failure; empty if there is none.
        model_outcome: uint8[n], the outcome by the model's own thresholds, NO_OUTCOME where it
            failed; None if it equals ``outcome`` in every row.
        explanations: Of the rows in ``reasons`` for which the model did not fail; None if there are
            none.
    """

    score: Float64
    outcome: NDArray[np.uint8]
    reasons: dict[int, tuple[str, ...]]
    failed: NDArray[np.bool_]
    failure: str = ""
    model_outcome: NDArray[np.uint8] | None = None
    explanations: Explanations | None = None


def answers(
    model: Model, features: Float64, scores: Float64, failed: NDArray[np.bool_], policy: RowPolicy,
    failure: str = "",
) -> Answers:  # fmt: skip
    """Return outcomes, reasons and explanations for scored rows.

    Args:
        model: The model that scored them.
        features: float64[n, m], columns in manifest order.
        scores: float64[n]; NaN where it failed.
        failed: bool[n].
        policy: Thresholds, and the outcome of failed rows.
        failure: Text of the first failure.
    """
    outcome = decide(scores, policy.thresholds)
    same = policy.thresholds is model.thresholds
    own = None if same else decide(scores, model.thresholds)
    explanations: Explanations | None = None
    try:
        reasons, explanations = _reasons(model, features, outcome, failed)
    except Exception as error:  # noqa: BLE001 a model is foreign code: it may raise anything
        # A row that cannot be explained counts as one for which the model failed.
        failure = failure or f"{type(error).__name__}: {error}"
        failed = failed | (outcome != Outcome.APPROVE)
        scores = np.where(failed, np.nan, scores)
        reasons = dict.fromkeys(np.flatnonzero(failed).tolist(), (MODEL_ERROR,))
    if failed.any():
        own = outcome.copy() if own is None else own
        own[failed] = NO_OUTCOME
        outcome[failed] = policy.on_model_error
    return Answers(scores, outcome, reasons, failed, failure, own, explanations)


def _terminal_watermark(
    events: EventBatch, features: FeatureSet, terminals: TerminalTable
) -> Int64 | None:
    if not features.by_terminal:
        return None
    return used_up_to(terminals, features.engine.delayed, events.int64("event_time"))


def refuse_failure(failed: NDArray[np.bool_], features: Float64, failure: str, plan: Plan) -> None:
    """Refuse the decisions of a model that failed for a larger share of rows than the plan allows.

    A row with a missing or infinite feature does not count. A valid record can have one, and not
    every model takes it: records of one producer would stop the partition for all others.

    Args:
        failed: bool[n], the rows for which it failed.
        features: float64[n, m].
        failure: Text of the first failure.
        plan: Has the share.

    Raises:
        ModelFailure: The share is larger.
    """
    rows = int((failed & np.isfinite(features).all(axis=1)).sum())
    # In a batch of one, a bad row has a share of one, and would stop a quiet topic forever.
    if rows > plan.model_error_share * max(len(failed), FEWEST_ROWS):
        raise ModelFailure(rows, failure)


def model_scores(predictor: Predictor, features: Float64) -> tuple[Float64, NDArray[np.bool_], str]:
    """Return scores (NaN where they failed), the failed rows and the first error, for n rows.

    If the predictor raises for the batch, each row is scored alone, so that a bad row fails alone.
    A score outside 0 to 1 is a failure, too.
    """
    failure = ""
    try:
        scores = np.asarray(predictor.scores(features), np.float64)
    except Exception as error:  # noqa: BLE001 a model is foreign code: it may raise anything
        failure = f"{type(error).__name__}: {error}"
        scores = np.full(len(features), np.nan)
        for row in range(len(features)):
            with suppress(Exception):
                scores[row] = predictor.scores(features[row : row + 1])[0]
    failed = ~((scores >= 0.0) & (scores <= 1.0))
    if failed.any():
        failure = failure or "the score is not a probability"
        scores = np.where(failed, np.nan, scores)
    return scores, failed, failure


def _reasons(
    model: Model, features: Float64, outcome: NDArray[np.uint8], failed: NDArray[np.bool_]
) -> tuple[dict[int, tuple[str, ...]], Explanations | None]:
    reasons: dict[int, tuple[str, ...]] = dict.fromkeys(
        np.flatnonzero(failed).tolist(), (MODEL_ERROR,)
    )
    rows = np.flatnonzero((outcome != Outcome.APPROVE) & ~failed)
    if not len(rows):
        return reasons, None
    attributions, _ = model.predictor.attributions(np.ascontiguousarray(features[rows]))
    told, explanations = explain(attributions, rows, model.features.names, model.features.texts)
    return reasons | told, explanations
