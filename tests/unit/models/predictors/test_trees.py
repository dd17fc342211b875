"""Trees from a file: malformed ones are refused, and unusual ones still score."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.convert import predictor_for


def fitted() -> Any:
    numbers = np.random.default_rng(0)
    rows = numbers.normal(0, 1, (500, 4))
    model = HistGradientBoostingClassifier(max_iter=2, early_stopping=False, random_state=0)
    return model.fit(rows, (rows[:, 0] > 0).astype(int))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left", 0, "a node without just one parent"),
        ("right", 4_000_000, "a child outside its tree"),
        ("left", 2, "a node without just one parent"),
        ("feature_idx", -3, "a split on no feature"),
        ("feature_idx", 4, "a feature that it does not have"),
    ],
)
def test_malformed_nodes_are_refused(field: str, value: int, message: str) -> None:
    model = fitted()
    model._predictors[0][0].nodes[field][0] = value
    with pytest.raises(ModelError, match=message):
        predictor_for(model)


def test_a_child_in_the_next_tree_is_refused() -> None:
    model = fitted()
    nodes = model._predictors[0][0].nodes
    nodes["right"][0] = len(nodes)
    with pytest.raises(ModelError, match="a child outside its tree"):
        predictor_for(model)
