"""LightGBM's objectives: which of them give a probability of fraud, and how."""

from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.lightgbm.number_lists import (
    integer,
    legacy_decimal,
    malformed,
)
from stream_scorer.models.importing.lightgbm.sections import TREES_MOST, printed
from stream_scorer.models.predictors.parts import Sigmoid

ADVICE: Final = "train it with the objective binary, cross_entropy or multiclassova"

REFUSED: Final = {
    "multiclass": "whose classes share one softmax",
    "cross_entropy_lambda": "which gives an intensity, not a probability",
    "custom": "whose function from margin to probability is not in the file",
    "lambdarank": "which ranks",
    "rank_xendcg": "which ranks",
    **dict.fromkeys(
        ("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma",
         "tweedie"),
        "which gives a number, not a probability",
    ),
}  # fmt: skip
"""Objectives whose margin does not become the probability of one class, and why."""


@dataclass(frozen=True, slots=True)
class Objective:
    """How the trees' sum becomes a probability.

    Attributes:
        name: Its name in LightGBM.
        after: The function from margin to probability.
        classes: Number of classes with trees of their own: each round has so many trees.
        chosen: Number of the class whose trees give the score.
    """

    name: str
    after: Sigmoid
    classes: int
    chosen: int


def read_objective(
    text: bytes | None, num_class: bytes, trees_per_round: bytes, fraud_class: str | None
) -> Objective:
    """Judge the objective of a header.

    Args:
        text: The objective, e.g. ``b"binary sigmoid:1"``; None if the header has none.
        num_class: The header's number of classes.
        trees_per_round: The header's number of trees in a round.
        fraud_class: Number of the fraud class, for models of more than two classes.

    Raises:
        ModelError: It gives no probability of one class, or its classes do not fit together.
    """
    name, *settings = (text or b"custom").decode("ascii", "replace").split(" ")
    if name in REFUSED:
        raise ModelError(f"model: the objective {name}, {REFUSED[name]}, is not supported", ADVICE)
    expected = {
        "binary": ["sigmoid"],
        "cross_entropy": [],
        "multiclassova": ["num_class", "sigmoid"],
    }
    pairs = [setting.partition(":") for setting in settings]
    if name not in expected or [key for key, _, _ in pairs] != expected[name]:
        raise ModelError(f"model: the objective {printed(text or b'')} is unknown", ADVICE)
    given = {key: value.encode() for key, _, value in pairs}
    classes = integer("num_class", num_class, 1, TREES_MOST)
    declared = integer("num_class of the objective", given.get("num_class", b"1"), 1, TREES_MOST)
    each = integer("num_tree_per_iteration", trees_per_round, 1, TREES_MOST)
    if not classes == declared == each:
        raise malformed(f"{classes} classes, but {each} trees in a round for {name}")
    slope = legacy_decimal("sigmoid", given["sigmoid"]) if "sigmoid" in given else 1.0
    if slope <= 0:
        raise malformed("sigmoid of the objective is not greater than 0")
    return Objective(name, Sigmoid(slope), classes, _chosen(name, classes, fraud_class))


def _chosen(name: str, classes: int, fraud_class: str | None) -> int:
    """Return the number of the fraud class among the classes with trees of their own."""
    if name != "multiclassova":
        if fraud_class not in {None, "1"}:
            raise ModelError(
                f"model: the objective {name} gives the probability of class 1 only, not of"
                f" {fraud_class!r}",
                "import it without a fraud class; train it again if frauds were labelled 0",
            )
        return 0
    numbers = [str(number) for number in range(min(classes, TREES_MOST))]
    if fraud_class not in numbers:
        raise ModelError(
            f"model: it has the classes 0 to {classes - 1}; which of them is fraud is"
            " not in the file",
            "name the fraud class by its number",
        )
    return numbers.index(fraud_class)
