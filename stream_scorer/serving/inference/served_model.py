"""A model version as requests use it: rows of features in, the core's decisions out."""

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model, answers, model_scores
from stream_scorer.core.decision.policy import RowPolicy, decide, decide_one
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.read_only import read_only
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.serving.inference.feature_tensors import FeatureTensors
from stream_scorer.serving.inference.results import RowResults

Float64 = NDArray[np.float64]

_ONE_ROW: Final = tuple(read_only(np.array([outcome], np.uint8)) for outcome in sorted(Outcome))
"""The outcome of a request with one row, by the outcome's value."""
_MEASURED_ROWS: Final = 64
_MEASUREMENTS: Final = 5
_MEASURING_SECONDS: Final = 0.05


class ServedModel:
    """A model that answers requests.

    Args:
        model: From a verified bundle. Its thresholds and its error outcome apply: the plan's policy
            depends on fields of a transaction that a request does not have.
        rows_most: Maximum rows of a request.
    """

    def __init__(self, model: Model, rows_most: int) -> None:
        self.name = model.name
        self.version = model.version
        self.thresholds = model.thresholds
        self.inputs = FeatureTensors(model.features.names, rows_most)
        self._model = model
        self._policy = RowPolicy(model.thresholds, model.on_model_error)
        # In the core, a row that cannot be explained counts as one for which the model failed. Our
        # own kernels explain each row that they score, so the outcome is known without.
        self._explains_all = isinstance(model.predictor, ScoringPredictor)
        self._fixed_seconds = 0.0
        self._row_seconds = 0.0

    def compute(self, rows: Float64, *, explain: bool = True) -> RowResults:
        """Decide rows as the stream does: the bits do not depend on how rows are divided.

        Args:
            rows: float64[n, m], columns in manifest order; NaN: missing.
            explain: Whether the reasons are needed; score and outcome do not depend on it.
        """
        quick = not explain and self._explains_all
        if quick and len(rows) == 1:  # the most frequent case
            found = self._one_row(rows)
            if found is not None:
                return found
        scores, failed, failure = model_scores(self._model.predictor, rows)
        if quick:
            outcome = decide(scores, self.thresholds)
            if failed.any():
                outcome[failed] = self._policy.on_model_error
            return RowResults(scores, outcome, {}, int(failed.sum()), failure)
        made = answers(self._model, rows, scores, failed, self._policy, failure)
        return RowResults(
            made.score, made.outcome, made.reasons, int(made.failed.sum()), made.failure
        )

    def _one_row(self, rows: Float64) -> RowResults | None:
        """Return what is decided for one row; None if the model failed, which takes another way."""
        try:
            scores = self._model.predictor.scores(rows)
        except Exception:  # noqa: BLE001 it is asked again, and then the failure is reported
            return None
        score = float(scores[0])
        if not 0.0 <= score <= 1.0:
            return None
        return RowResults(scores, _ONE_ROW[decide_one(score, self.thresholds)], {})

    def measure(self) -> None:
        """Measure what a row costs. This also loads the compiled code."""
        width = len(self.inputs.names)
        one, many = np.zeros((1, width)), np.zeros((_MEASURED_ROWS, width))
        alone, together = self._fastest(one), self._fastest(many)
        self._row_seconds = max(together - alone, 0.0) / (_MEASURED_ROWS - 1)
        self._fixed_seconds = max(alone - self._row_seconds, 0.0)

    def seconds_for(self, rows: int) -> float:
        """Return the estimated time of a batch; it decides where it is computed, nothing else."""
        return self._fixed_seconds + rows * self._row_seconds

    def _fastest(self, rows: Float64) -> float:
        """Return the seconds of the fastest of some computations; a slow one is not repeated."""
        self.compute(rows)
        found: list[float] = []
        while not found or (len(found) < _MEASUREMENTS and sum(found) < _MEASURING_SECONDS):
            begin = time.perf_counter()
            self.compute(rows)
            found.append(time.perf_counter() - begin)
        return min(found)
