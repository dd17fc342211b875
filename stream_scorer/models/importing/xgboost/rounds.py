"""How many rounds of a model count: training may have stopped after the best one."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.xgboost.fields import Section
from stream_scorer.models.importing.xgboost.refusals import refuse, shown

TREES_MOST: Final = 32_768
"""Of a model; its text takes about 22 values for each."""
_ROUND: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a model that are added up.

    Attributes:
        used: Their number.
        in_file: Number of the rounds in the file.
        trees: Number of the trees of the used rounds; they are the first in the file.
        trees_in_file: Number of all trees.
    """

    used: int
    in_file: int
    trees: int
    trees_in_file: int


def read_rounds(learner: Section, model: Section, options: ImportOptions) -> Rounds:
    """Return the rounds that count.

    XGBoost's own ``predict`` adds all rounds, while its scikit-learn wrapper stops after the best
    one. So a model that was stopped later than its best round needs ``options.rounds``.

    Raises:
        ModelError: ``options.rounds`` is missing or does not fit, or the counts in the file do not
            fit each other.
    """
    parameter = model.section("gbtree_model_param")
    trees = parameter.count("num_trees", 0, TREES_MOST)
    if trees == 0:
        refuse("it has no tree", "train it for at least one round")
    ends = _ends(model, parameter, trees)
    best = _best(learner, len(ends), options)
    used = len(ends) if best is None else best
    return Rounds(used, len(ends), int(ends[used - 1]), trees)


def _ends(model: Section, parameter: Section, trees: int) -> "np.typing.NDArray[np.int64]":
    """Return int64[rounds]: the number of trees up to the end of each round."""
    if model.has("iteration_indptr"):
        bounds = model.integers("iteration_indptr")
        fits = len(bounds) > 1 and bounds[0] == 0 and bounds[-1] == trees
        if not fits or not (np.diff(bounds) > 0).all():
            refuse(f"{model.place('iteration_indptr')} does not divide {trees:,} trees into rounds")
        return bounds[1:]
    # Before version 2.0.
    per_round = parameter.count("num_parallel_tree", 1, TREES_MOST)
    if trees % per_round:
        refuse(f"it has {trees:,} trees, which are not rounds of {per_round:,}")
    return np.arange(per_round, trees + 1, per_round, dtype=np.int64)


def _best(learner: Section, rounds: int, options: ImportOptions) -> int | None:
    """Return the number of rounds up to the best one, if only those count."""
    attributes = learner.section("attributes")
    if not attributes.has("best_iteration"):
        if options.rounds == "best":
            refuse("it has no best_iteration", "give --rounds all, or leave it out")
        return None
    text = attributes.text("best_iteration")
    if _ROUND.fullmatch(text) is None or int(text) >= rounds:
        refuse(f"its best_iteration is {shown(text)}, but it has {rounds:,} rounds")
    best = int(text) + 1
    if best != rounds and options.rounds is None:
        refuse(
            f"training was stopped: the best of {rounds:,} rounds is number {best:,}",
            "give --rounds best to stop after it, as XGBClassifier does, or --rounds all",
        )
    return best if options.rounds == "best" else None
