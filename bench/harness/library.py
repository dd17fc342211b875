"""LightGBM in the place of our kernels, in a scorer's process."""

from pathlib import Path
from typing import ClassVar

import lightgbm
import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.bundles import loader
from stream_scorer.models.predictors.predictors import ScoringPredictor

Float64 = NDArray[np.float64]


class LibraryPredictor(ScoringPredictor):
    """Scores rows with LightGBM, one thread; attributions are ours."""

    booster: ClassVar[lightgbm.Booster]

    def scores(self, features: Float64) -> Float64:
        """Return float64[n]: LightGBM's probabilities."""
        return np.asarray(self.booster.predict(features, num_threads=1))

    def raw(self, features: Float64) -> Float64:
        """Return float64[n]: LightGBM's margins."""
        return np.asarray(self.booster.predict(features, raw_score=True, num_threads=1))


def score_with(file: Path) -> None:
    """Let LightGBM score the rows of each bundle that is loaded from now on."""
    LibraryPredictor.booster = lightgbm.Booster(model_file=str(file))
    vars(loader)["ScoringPredictor"] = LibraryPredictor
