"""Models with arrays unlike those of a fitted model are refused before a kernel reads them."""

import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import unpack as unpacking
from stream_scorer.models.bundles.golden import read
from stream_scorer.models.bundles.trust import ANY
from stream_scorer.models.bundles.unpack import unpack
from stream_scorer.models.predictors import trees as fitted_trees
from stream_scorer.models.predictors.predictors import predictor_for
from stream_scorer.models.predictors.trees import (
    NODES_MOST,
    _assemble,
    from_decision_trees,
)
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS

LINEAR = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, FRAUD)


@pytest.mark.parametrize(
    ("step", "name", "value", "told"),
    [
        (1, "coef_", np.ones((1, 2)), r"coef_ has the shape \(1, 2\), not \(1, 3\)"),
        (1, "coef_", np.ones((1, 0)), "coef_ has the shape"),
        (1, "coef_", np.ones(3), "coef_ has the shape"),
        (1, "coef_", np.full((1, 3), np.nan), "coef_ holds no number"),
        (1, "intercept_", np.ones(0), "intercept_ has the shape"),
        (0, "mean_", np.ones(2), "mean_ has the shape"),
        (0, "scale_", np.ones(1), "scale_ has the shape"),
        (0, "scale_", np.zeros(3), "scale_ holds a zero"),
        (1, "n_features_in_", 2**40, "takes 1099511627776 features"),
        (1, "n_features_in_", -1, "takes -1 features"),
        (1, "n_features_in_", "many", "does not hold what a fitted one does"),
        (1, "coef_", "text", "coef_ has the shape"),
        (1, "coef_", np.zeros((1, 50_000_000), np.bool_), "coef_ has the shape"),
    ],
)
def test_linear_arrays_must_fit(step: int, name: str, value: Any, told: str) -> None:
    model = deepcopy(LINEAR)
    setattr(model.steps[step][1], name, value)
    with pytest.raises(ModelError, match=told):
        predictor_for(model)


def stump(**changes: Any) -> dict[str, Any]:
    """Return a tree of a root and two leaves."""
    tree = {
        "leaf": np.array([False, True, True]), "feature": np.array([0, 0, 0]),
        "threshold": np.zeros(3), "left": np.array([1, 0, 0]), "right": np.array([2, 0, 0]),
        "missing_left": np.zeros(3, np.bool_), "value": np.ones(3), "cover": np.ones(3),
    }  # fmt: skip
    return tree | changes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"left": np.array([2**31, 0, 0])}, "a child outside its tree"),
        ({"left": np.array([2**32 + 1, 0, 0])}, "a child outside its tree"),
        ({"left": np.array([2**63 + 1, 0, 0], np.uint64)}, "a child outside its tree"),
        ({"right": np.array([3, 0, 0])}, "a child outside its tree"),
        ({"left": np.array([-1, 0, 0])}, "a child before its parent"),
        ({"left": np.array([0, 0, 0])}, "a child before its parent"),
        ({"left": np.array([2, 0, 0])}, "a node without just one parent"),
        ({"feature": np.array([3, 0, 0])}, "a feature that it does not have"),
        ({"feature": np.array([2**16, 0, 0])}, "a feature that it does not have"),
        ({"feature": np.array([-1, 0, 0])}, "a split on no feature"),
        ({"feature": np.array([0.5, 0, 0])}, "not integers"),
        ({"threshold": np.array([np.nan, 0, 0])}, "a split at no number"),
        ({"value": np.array([1, np.inf, 1])}, "a leaf without a number"),
        ({"value": np.ones(2)}, "columns of different lengths"),
        ({name: column[:0] for name, column in stump().items()}, "a tree without a node"),
    ],
)
def test_trees_must_be_trees(changes: dict[str, Any], told: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=told):
            _assemble([stump(**changes)], 0.0, 3)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_trees_have_so_many_nodes_at_most() -> None:
    large = {name: np.zeros(NODES_MOST, column.dtype) for name, column in stump().items()}
    with pytest.raises(ModelError, match="more than 4194304 nodes"):
        _assemble([large, stump()], 0.0, 3)


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "."), data)
    return out.getvalue()


def shaped(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (-1,), (4,)])
def test_arrays_must_be_as_long_as_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        unpack(archive(a__npy=shaped(shape)), "m:1.0.0", ANY)


def test_a_schema_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_SCHEMA_BYTES_MOST", 100)
    with pytest.raises(ModelError, match="has 101 bytes"):
        unpack(archive(schema__json=b" " * 101), "m:1.0.0", ANY)


def test_many_members_are_refused_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="more than 65536 members"):
        unpack(b"PK\x03\x04" + b"PK\x01\x02" * 65_537, "m:1.0.0", ANY)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for number in range(20_000):
            file.writestr(f"{number}.npy", shaped((0,)))
    began = time.process_time()
    with pytest.raises(ModelError, match="cannot be loaded"):
        unpack(out.getvalue(), "m:1.0.0", ANY)
    assert time.process_time() - began < 20, "each member costs as much as the one before"


def of_list(content: list[Any], number: int) -> dict[str, Any]:
    return {
        "__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "__id__": number,
        "content": content,
    }  # fmt: skip


def schema(top: dict[str, Any]) -> bytes:
    return json.dumps(top | {"protocol": 0, "_skops_version": "0"}).encode()


def test_an_object_in_two_places_is_not_walked_more_often() -> None:
    """Forty lists, each of which has the previous one twice, would be 2^40 visits."""
    node = of_list([], 1)
    for number in range(2, 42):
        node = of_list([node, {"__id__": number - 1}], number)
    with pytest.raises(ModelError, match="the object 2 is mentioned in part"):
        unpack(archive(schema__json=schema(node)), "m:1.0.0", ANY)


def test_an_object_cannot_contain_itself() -> None:
    with pytest.raises(ModelError, match="the object 1 is mentioned in part"):
        unpack(archive(schema__json=schema(of_list([of_list([], 1)], 1))), "m:1.0.0", ANY)


def test_an_array_that_many_objects_name_counts_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_UNPACKED_BYTES_MOST", 5_000)
    member = shaped((100,)) + bytes(800)
    array = {
        "__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode",
        "type": "numpy", "file": "a.npy",
    }  # fmt: skip
    data = archive(schema__json=schema(of_list([array] * 8, 1)), a__npy=member)
    with pytest.raises(ModelError, match="its objects name over 1 GiB"):
        unpack(data, "m:1.0.0", ANY)
    shared = archive(schema__json=schema(of_list([array | {"__id__": 2}] * 8, 1)), a__npy=member)
    found = unpack(shared, "m:1.0.0", ANY)
    assert isinstance(found, list)
    assert [each.shape for each in found] == [(100,)] * 8


def test_a_schema_has_so_many_objects_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_OBJECTS_MOST", 3)
    with pytest.raises(ModelError, match="more than 3 objects"):
        unpack(archive(schema__json=schema(of_list([{}, {}, {}], 1))), "m:1.0.0", ANY)


def test_arrays_are_in_members_that_are_checked() -> None:
    """Arrays in a member of another name would be unpacked without a limit."""
    with pytest.raises(ModelError, match=r"holds 'a\.json', which no skops model"):
        unpack(archive(schema__json=schema(of_list([], 1)), a__json=b"PK"), "m:1.0.0", ANY)


def test_one_tree_many_times_is_not_copied_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = deepcopy(MODELS["decision_tree"]).fit(ROWS, FRAUD)
    monkeypatch.setattr(fitted_trees, "NODES_MOST", 3 * tree.tree_.node_count)
    from_decision_trees([tree] * 3)

    def one_too_many() -> Iterator[Any]:
        yield from [tree] * 4
        pytest.fail("it was copied before it was counted")

    with pytest.raises(ModelError, match=r"more than [0-9]+ nodes"):
        from_decision_trees(one_too_many())  # type: ignore[arg-type]  # it is only iterated


def test_valid_models_pass() -> None:
    for model in MODELS.values():
        data = skops.io.dumps(model.fit(ROWS, FRAUD))
        predictor_for(unpack(data, "m:1.0.0", ANY))


def test_golden_rows_of_endless_numbers_are_refused() -> None:
    data = b'{"features":[[' + b"9" * 400 + b']],"scores":[1],"raw":[1]}'
    with pytest.raises(ModelError, match="is not a golden file"):
        read(data, 1, "m:1.0.0")
