"""Scores features again with a recorded model version: scores, outcomes and reasons."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import MODEL_ERROR, Answers, Model, answers, model_scores
from stream_scorer.core.decision.policy import RowPolicy
from stream_scorer.core.decision.routing import Version
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import Bundle, load_bundle
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import BundleStore

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Bundles:
    """Loads each recorded version once, verified as in a scorer.

    Args:
        store: The store of the bundles.
        trust: The accepted signatures.

    Attributes:
        refused: By version that cannot be loaded, the reason.
    """

    def __init__(self, store: BundleStore, trust: Trust) -> None:
        self._store = store
        self._trust = trust
        self._loaded: dict[Version, Bundle | None] = {}
        self._models: dict[Version, Model] = {}
        self.refused: dict[str, str] = {}

    def bundle(self, version: Version) -> Bundle | None:
        """Return a version's bundle; None if it is missing or refused.

        Raises:
            UnavailableError: The store does not answer.
        """
        if version not in self._loaded:
            try:
                found = load_bundle(find(self._store, version.label), self._trust)
            except ModelError as error:
                self._loaded[version] = None
                self.refused[version.label] = error.what
            else:
                self._loaded[version] = found
        return self._loaded[version]

    def named(self, reference: str) -> Bundle:
        """Return the bundle that the user named.

        Raises:
            ModelError: It is missing or refused.
            UnavailableError: The store does not answer.
        """
        return load_bundle(find(self._store, reference), self._trust)

    def model(self, version: Version) -> Model | None:
        """Return a version's model, for features that are computed already; None without one."""
        bundle = self.bundle(version)
        if bundle is not None and version not in self._models:
            self._models[version] = bundle.model(declared_plan(bundle.manifest.features))
        return self._models.get(version)


def ask(model: Model, features: Float64, failed: Bool, policy: RowPolicy) -> Answers:
    """Score rows and decide them as the scorer does.

    Args:
        model: The model.
        features: float64[n, m], columns in manifest order.
        failed: bool[n], rows for which the model failed, by their decisions: it is not called for
            them.
        policy: Thresholds, and the outcome of failed rows.
    """
    score = np.full(len(features), np.nan)
    asked = np.flatnonzero(~failed)
    score[asked], _, _ = model_scores(model.predictor, np.ascontiguousarray(features[asked]))
    return answers(model, features, score, np.isnan(score), policy)


def model_errors(reasons: pa.Array) -> Bool:
    """Return bool[n]: for which recorded decisions the model failed."""
    told = pa.array([[MODEL_ERROR]], reasons.type)[0].as_py()
    failed = np.zeros(len(reasons), np.bool_)
    offsets = np.asarray(reasons.offsets)
    for row in np.flatnonzero(np.diff(offsets) == 1).tolist():
        failed[row] = reasons[row].as_py() == told
    return failed
