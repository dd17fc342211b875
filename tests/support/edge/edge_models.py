"""Models, policies and their images, for tests of the kernels for devices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import Segment, read_policy
from stream_scorer.edge.export.policy_image import PolicyImage, policy_image
from stream_scorer.edge.export.table_image import image_of
from stream_scorer.models.predictors.parts import (
    Integers,
    Part,
    ScoringModel,
    Sigmoid,
    SingleSigmoid,
    Table,
)
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.models import random_models

FEATURES = 4
POLICY: dict[str, Any] = {
    "on_model_error": "BLOCK",
    "default": {"review": 0.4, "block": 0.7},
    "segment": [
        {"when": {"channel": ["ECOM", "MOTO"], "amount_above": 500.0}, "review": 0.2, "block": 0.3},
        {"when": {"amount_below": 20.0, "trusted": True}, "review": 0.9, "block": 0.95},
        {"when": {"country": ["FR", "Å"], "trusted": False}, "review": 0.1, "block": 1.0},
        {"when": {"channel": "ECOM"}, "review": 0.5, "block": 0.5},
    ],
}
PLAN = Plan(policy=POLICY, extras={"trusted": "boolean"})
NO_POLICY = policy_image(Plan(), Thresholds(0.5, 0.8), Outcome.REVIEW)
SEGMENTED = policy_image(PLAN, Thresholds(0.3, 0.6), Outcome.REVIEW)


def segments() -> tuple[Segment, ...]:
    """Return the segments of :data:`SEGMENTED`."""
    return read_policy(POLICY, PLAN.exponent, PLAN.extras).segments


def names(model: ScoringModel) -> tuple[str, ...]:
    """Return a name for each feature."""
    return tuple(f"feature_{number}" for number in range(model.feature_count))


def random_cases(first: int, count: int) -> Iterator[ScoringModel]:
    """Yield random models of one to three parts, with all kinds of steps and bodies."""
    for seed in range(first, first + count):
        yield random_models.model(seed, FEATURES)


def ensembles() -> dict[str, ScoringModel]:
    """Return a model of each kind of body."""
    kinds: dict[str, dict[str, Any]] = {
        "32-bit masks": {"trees": 40, "leaves": 31},
        "64-bit masks": {"trees": 20, "leaves": 60},
        "32-bit masks, single": {"trees": 33, "leaves": 31, "single": True},
        "64-bit masks, single": {"trees": 9, "leaves": 64, "single": True},
        "masks of sets": {"trees": 17, "leaves": 20, "most_cuts": 5},
        "walked": {"trees": 13, "leaves": 90},
        "walked, single": {"trees": 8, "leaves": 90, "single": True},
        "walked sets": {"trees": 11, "leaves": 90, "most_cuts": 6},
        "walked sets, single": {"trees": 3, "leaves": 90, "most_cuts": 3, "single": True},
        "leaves alone": {"trees": 3, "leaves": 1},
    }
    found = {}
    for seed, (name, how) in enumerate(kinds.items()):
        trees = random_models.ensemble(seed, features=FEATURES, **how)
        after = SingleSigmoid() if trees.single else Sigmoid()
        found[name] = ScoringModel((Part((), trees, after=(after,)),), FEATURES)
    numbers = np.random.default_rng(1)
    linear = random_models.linear(numbers, FEATURES)
    found["weights"] = ScoringModel((Part((), linear, after=(Sigmoid(),)),), FEATURES)
    x = np.sort(numbers.normal(size=7))
    table = Table(x, np.sort(numbers.random(7)))
    found["a table"] = ScoringModel((Part((), linear, after=(table,)),), FEATURES)
    point = Table(np.array([0.25]), np.array([0.5]))
    found["a table of one point"] = ScoringModel((Part((), linear, after=(point,)),), FEATURES)
    whole = Integers(np.array([1, 3]), 9.0)
    trees = random_models.ensemble(99, trees=5, leaves=9, features=FEATURES)
    found["integers"] = ScoringModel((Part((whole,), trees, after=(Sigmoid(),)),), FEATURES)
    return found


@dataclass(frozen=True, slots=True)
class EdgeCase:
    """A model, its image, rows, and the stream's predictor."""

    model: ScoringModel
    image: bytes
    rows: NDArray[np.float64]
    predictor: ScoringPredictor


def case_of(
    model: ScoringModel, policy: PolicyImage = NO_POLICY, rows: int = 600, seed: int = 0
) -> EdgeCase:
    """Return a model's image under a policy, and rows on and next to its cuts."""
    near = random_models.rows_near(random_models.cuts_of(model), seed, rows, model.feature_count)
    # Integers, without which a step may refuse every row.
    near[::3] = np.random.default_rng(seed).integers(-9, 10, near[::3].shape)
    image = image_of(model, policy, names(model))
    return EdgeCase(model, image, near, ScoringPredictor(model, own_exponential=True))
