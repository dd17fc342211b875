"""Whatever is changed in a valid file, it is refused in one line, or its model scores rows."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.files.model_file import read_model, write_model
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.imports.catboost_hostile import Document, encoded, other, symmetric

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 10**17, 10**40, -0.5, 1e-300, 1e308, "", "AsTrue", "\ud800", [], [[]],
    [None], [0.5, 0.5], {}, {"value": 1},
)  # fmt: skip
ROWS = np.array([[0.0, 0.0], [np.nan, -3.0], [2.0, np.inf]])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value inside a document."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield (*path, key)
            yield from places(inner, (*path, key))


def changed(document: Document, path: tuple[Any, ...], value: Any) -> Document:
    found = copy.deepcopy(document)
    at: Any = found
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return found


@pytest.mark.parametrize("make", [symmetric, other])
def test_a_changed_value_is_refused_or_can_be_scored(make: Callable[[], Document]) -> None:
    refusals, scored = list[str](), 0
    for path in places(make()):
        for value in STRANGE:
            data = encoded(changed(make(), path, value))
            try:
                model = read_catboost(data, ImportOptions()).model
            except ModelError as error:
                refusals.append(str(error))
            else:
                if model.feature_count == 2:
                    assert np.isfinite(ScoringPredictor(model).raw(ROWS)).all()
                scored += 1
    assert len(refusals) > 500
    assert all(refusal.isprintable() for refusal in refusals)
    assert scored > 50


@pytest.mark.parametrize("make", [symmetric, other])
def test_each_cut_text_is_refused(make: Callable[[], Document]) -> None:
    data = encoded(make())
    for length in range(0, len(data), 7):
        with pytest.raises(ModelError, match="is not JSON"):
            read_catboost(data[:length], ImportOptions())


def test_an_imported_model_keeps_its_bits_in_a_model_file() -> None:
    for document in (symmetric(), other()):
        model = read_catboost(encoded(document), ImportOptions()).model
        kept = read_model(write_model(model), "file")
        assert (ScoringPredictor(kept).raw(ROWS) == ScoringPredictor(model).raw(ROWS)).all()
