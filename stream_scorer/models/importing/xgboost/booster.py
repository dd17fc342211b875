"""The trees of a model, and what their weights do to the leaves' values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.models.importing.xgboost.fields import Section, section_of
from stream_scorer.models.importing.xgboost.float32_cuts import Float32
from stream_scorer.models.importing.xgboost.refusals import refuse, shown
from stream_scorer.models.importing.xgboost.rounds import Rounds
from stream_scorer.models.importing.xgboost.trees import TreeSettings, node_count, read_tree
from stream_scorer.models.importing.xgboost.values import Value
from stream_scorer.models.predictors.trees import CUTS_MOST, NODES_MOST, TreeColumns

_MERGED: Final = (3, 3)
"""Since this version DART is a tree booster with weights, and multiplies in another order."""


@dataclass(frozen=True, slots=True)
class Booster:
    """The part of a file that holds the trees.

    Attributes:
        name: ``gbtree`` or ``dart``.
        model: The section of the trees.
        weights: float32[t] for the trees; None if all count fully.
    """

    name: str
    model: Section
    weights: Float32 | None


def read_booster(learner: Section, version: tuple[int, int]) -> Booster:
    """Return the booster.

    Args:
        learner: The learner.
        version: XGBoost's major and minor version.

    Raises:
        ModelError: It is linear or unknown, or has not one weight for each tree.
    """
    outer = learner.section("gradient_booster")
    name = outer.text("name")
    if name == "gblinear":
        refuse(
            "its booster is gblinear, a linear model without trees, which is not supported",
            "train it with booster='gbtree', or use a LogisticRegression of scikit-learn",
        )
    if name not in ("gbtree", "dart"):
        refuse(f"its booster {shown(name)} is unknown", "train it with booster='gbtree'")
    model = (outer.section("gbtree") if name == "dart" else outer).section("model")
    holders = [each for each in (outer, model) if each.has("weight_drop")]
    if len(holders) > 1:
        refuse("it has weight_drop in two places")
    if not holders:
        if name == "dart":
            refuse(f"{outer.place('weight_drop')} is missing")
        return Booster(name, model, None)
    if name == "gbtree" and version < _MERGED:
        refuse(f"{holders[0].place('weight_drop')} is not read by its version of XGBoost")
    trees = model.section("gbtree_model_param").count("num_trees", 0, NODES_MOST)
    weights = holders[0].singles("weight_drop", trees)
    if not np.isfinite(weights).all():
        refuse(f"{holders[0].place('weight_drop')} has a weight that is not finite")
    return Booster("dart", model, weights)


def read_trees(
    booster: Booster,
    rounds: Rounds,
    *,
    feature_count: int,
    start: np.float32,
    version: tuple[int, int],
) -> list[TreeColumns]:
    """Return the trees of the rounds that count.

    Args:
        booster: The booster.
        rounds: The rounds.
        feature_count: Number of the model's features.
        start: The base margin.
        version: XGBoost's major and minor version.

    Raises:
        ModelError: A tree is malformed, or there are too many nodes.
    """
    model = booster.model
    trees = model.values("trees")
    if len(trees) != rounds.trees_in_file:
        refuse(f"{model.place('trees')} has {len(trees):,} trees, not {rounds.trees_in_file:,}")
    if model.integers("tree_info", rounds.trees_in_file).any():
        refuse("it has trees of several classes", "train it with binary:logistic")
    sections = _sections(model, trees[: rounds.trees])
    nodes = sum(map(node_count, sections))
    if nodes > NODES_MOST:
        refuse(f"it has {nodes:,} nodes, more than {NODES_MOST:,}", "train fewer or smaller trees")
    found, cuts = [], 0
    for number, tree in enumerate(sections):
        contribution = _contribution(booster, number, start, version)
        found.append(read_tree(tree, TreeSettings(feature_count, contribution)))
        cuts += len(found[-1].cuts)
        if cuts > CUTS_MOST:
            refuse(f"its categories need more than {CUTS_MOST:,} cuts", "train fewer trees")
    return found


def _sections(model: Section, trees: Sequence[Value]) -> list[Section]:
    sections = []
    for number, tree in enumerate(trees):
        section = section_of(tree, f"{model.place('trees')}[{number}]")
        if section.value("id") != number:
            refuse(f"{section.place('id')} is not {number}")
        sections.append(section)
    return sections


def _contribution(
    booster: Booster, number: int, start: np.float32, version: tuple[int, int]
) -> Callable[[Float32], Float32]:
    """Return what a tree's leaf values add to the sum, as ``inplace_predict`` computes it.

    A DART weight multiplies the leaf's value. Before version 3.3 the library first made the
    tree's own prediction, which starts at the base margin, and then took the margin away again.
    Both operations round to float32.
    """
    if booster.weights is None:
        return lambda leaves: leaves
    weight = booster.weights[number]
    if version >= _MERGED:
        return lambda leaves: leaves * weight
    return lambda leaves: ((leaves + start) - start) * weight
