"""The test rows as the champion sees them, if the challenger has other features."""

import json
import shutil
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.dataset.contract import DatasetOrder
from stream_scorer.dataset.run import build_dataset
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.settings import Settings
from stream_scorer.training.days import Days, number_of
from stream_scorer.training.labelled import DatasetFolder, DayRows

_DAY_MS = 86_400_000


def refolded_features(
    settings: Settings, order: DatasetOrder, manifest: Manifest, days: Days, test: DayRows,
    plan: Plan,
) -> NDArray[np.float64]:  # fmt: skip
    """Return float64[n, m]: the features of n test rows as the champion declares them.

    The decisions that were recorded may be of versions with other features, so the champion's are
    folded from the input, like the challenger's.

    Args:
        settings: The cluster and the registry.
        order: Of the challenger's dataset; its folder is the one to write.
        manifest: The champion's.
        days: The test days.
        test: The rows of the challenger's dataset on them.
        plan: Its currency.

    Raises:
        ModelError: The topics have other rows now.
        StreamScorerError: The dataset cannot be built.
    """
    shutil.rmtree(order.out, ignore_errors=True)
    declared = order.out.with_suffix(".json")
    declared.write_text(json.dumps({"features": list(manifest.features)}))
    first = number_of(days.first) * _DAY_MS
    build_dataset(settings, replace(order, first_ms=first, features=declared))
    taken = DatasetFolder.open(order.out).take()
    day = taken.time // _DAY_MS
    rows = np.flatnonzero(days.holds(day))
    amount = in_units(taken.amounts[rows], plan.minor_per_unit)
    if not (np.array_equal(day[rows], test.rows.day) and np.array_equal(amount, test.rows.amount)):
        raise ModelError(
            f"retrain: champion and challenger have other test rows on {days}",
            "the topics have changed meanwhile: the next retraining tries again",
        )
    return np.ascontiguousarray(taken.features[rows])
