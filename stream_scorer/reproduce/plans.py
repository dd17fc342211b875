"""The plans under which past decisions were made; their policies have the thresholds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.policy import (
    RowPolicy,
    RowThresholds,
    decide,
    error_outcome,
    possible_thresholds,
)
from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.models.stores.deployment import plan_of
from stream_scorer.models.stores.store import BundleStore, PlanMissingError


class RecordedPlans:
    """The plan of each revision: the control log's, else the plan file's.

    Args:
        store: Store of the models; the plan file is next to their versions.
        path: Plan file or folder that replaces it.
        revisions: The routing of each revision of the control log.
    """

    def __init__(
        self, store: BundleStore, path: Path | None = None,
        revisions: Mapping[int, Routing] | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._path = path
        self._revisions = revisions or {}
        self._pinned: dict[str, Plan] = {}

    def of(self, revision: int, model: str) -> Plan:
        """Return the plan of a revision; raises as :meth:`pinned`.

        Args:
            revision: As a decision names it.
            model: Name of the model that decided.
        """
        routing = self._revisions.get(revision)
        return self.pinned(model) if routing is None else routing.shared

    def pinned(self, model: str) -> Plan:
        """Return the plan of decisions that were made without a control log.

        If there is no file next to the model's versions, it is the default plan: a cluster that
        always followed the control log needs no such file.

        Args:
            model: The model's name.

        Raises:
            SettingsError: The plan cannot be read or is not valid, or there is none at the given
                path.
            UnavailableError: The store does not answer.
        """
        if model not in self._pinned:
            try:
                self._pinned[model] = plan_of(self._store, model, self._path)
            except PlanMissingError:
                if self._path is not None:
                    raise
                self._pinned[model] = Plan()
        return self._pinned[model]


def recorded_policy(
    decisions: pa.RecordBatch, model: Model, plan: Plan
) -> tuple[RowPolicy, NDArray[np.bool_]]:
    """Return the policy of decisions whose transactions are not available.

    A decision does not have all fields that determine its segment. So each gets the default
    thresholds, if its score results in its outcome by them; otherwise those of the first segment by
    which it does; if there are none, the default ones.

    Args:
        decisions: n decisions.
        model: The model that scored them.
        plan: The plan of their revision.

    Returns:
        The policy; bool[n], whether the outcome depends on the segment, which was taken from it.
    """
    error = error_outcome(plan, model.on_model_error)
    *segments, default = possible_thresholds(plan, model.thresholds)
    if not segments:
        return RowPolicy(default, error), np.zeros(len(decisions), np.bool_)
    score = np.asarray(decisions.column("score").to_numpy(zero_copy_only=False), np.float64)
    names = pa.array([outcome.name for outcome in Outcome], decisions.column("decision").type)
    recorded = pc.index_in(decisions.column("decision"), names).fill_null(len(names)).to_numpy()
    by_default = decide(score, default)
    review, block = np.full(len(score), default.review), np.full(len(score), default.block)
    open_rows, differs = by_default != recorded, np.zeros(len(score), np.bool_)
    for thresholds in segments:
        outcome = decide(score, thresholds)
        differs |= outcome != by_default
        fits = open_rows & (outcome == recorded)
        review[fits], block[fits] = thresholds.review, thresholds.block
        open_rows &= ~fits
    return RowPolicy(RowThresholds(review, block), error), differs
