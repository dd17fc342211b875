"""Models with arrays unlike those of a fitted model are refused before a kernel reads them."""

import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.golden import read
from stream_scorer.models.importing.scikit_learn import schema as schemas
from stream_scorer.models.importing.scikit_learn import unpack as unpacking
from stream_scorer.models.importing.scikit_learn.convert import predictor_for
from stream_scorer.models.importing.scikit_learn.trees import from_decision_trees
from stream_scorer.models.importing.scikit_learn.unpack import unpack
from stream_scorer.models.predictors import trees as fitted_trees
from stream_scorer.models.predictors.parts import Part, ScoringModel
from stream_scorer.models.predictors.trees import (
    CUTS_MOST,
    NODES_MOST,
    TreeColumns,
    assemble,
)
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS
from tests.support.models.reference_model import reference_raw

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


def stump(**changes: Any) -> TreeColumns:
    """Return a tree of a root and two leaves."""
    tree = TreeColumns.with_thresholds(
        feature=np.array([0, -1, -1]), threshold=np.zeros(3), left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]), missing_left=np.zeros(3, np.bool_), value=np.ones(3),
        cover=np.ones(3),
    )  # fmt: skip
    return replace(tree, **changes)


EMPTY = {field.name: getattr(stump(), field.name)[:0] for field in fields(TreeColumns)}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"left": np.array([2**31, 0, 0])}, "a number of a node or feature that is too large"),
        ({"left": np.array([2**63 + 1, 0, 0], np.uint64)}, "that is too large"),
        ({"right": np.array([3, 0, 0])}, "a child outside its tree"),
        ({"left": np.array([-1, 0, 0])}, "a child outside its tree"),
        ({"left": np.array([0, 0, 0])}, "a node without just one parent"),
        ({"left": np.array([2, 0, 0])}, "a node without just one parent"),
        ({"feature": np.array([3, -1, -1])}, "a feature that it does not have"),
        ({"feature": np.array([2**16, -1, -1])}, "a feature that it does not have"),
        ({"feature": np.array([2**63 + 1, 0, 0], np.uint64)}, "that is too large"),
        ({"feature": np.array([-2, -1, -1])}, "a split on no feature"),
        ({"feature": np.array([-1, -1, -1])}, "a node without just one parent"),
        ({"feature": np.array([0.5, -1, -1])}, "not integers"),
        ({"cuts": np.array([np.nan, 0, 0])}, "a split at no number"),
        ({"cuts": np.array([1, 1, 0]), "first_cut": np.array([0, 2, 2, 3])}, "floating-point"),
        ({"cuts": np.array([1.0, 1.0]), "first_cut": np.array([0, 2, 2, 2])}, "do not ascend"),
        ({"cuts": np.array([np.inf, np.inf]), "first_cut": np.array([0, 2, 2, 2])}, "not ascend"),
        ({"cuts": np.zeros(2)}, "cuts that belong to no node"),
        ({"first_cut": np.array([0, 2, 1, 3])}, "cuts that belong to no node"),
        ({"first_cut": np.array([0, -1, 1, 3])}, "cuts that belong to no node"),
        ({"first_cut": np.array([0, 1, 2, 2**40])}, "that is too large"),
        ({"first_cut": np.array([0, 1, 3])}, "columns of different lengths"),
        ({"value": np.array([1, np.inf, 1])}, "a leaf without a number"),
        ({"value": np.array([1, 1e151, 1])}, "a leaf without a number"),
        ({"value": np.ones(2)}, "columns of different lengths"),
        ({"value": np.array([None, "a", 1])}, "not floating-point numbers"),
        ({"cover": np.array([1, -1.0, 1])}, "a cover that is not a number of rows"),
        ({"cover": np.array([1, np.nan, 1])}, "a cover that is not a number of rows"),
        ({"starts_left": np.zeros(3, np.int64)}, "sides that are not true or false"),
        (EMPTY | {"first_cut": np.zeros(1, np.int64)}, "a tree without a node"),
    ],
)
def test_trees_must_be_trees(changes: dict[str, Any], told: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=told):
            assemble([stump(**changes)], baseline=0.0, feature_count=3)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "baseline", "told"),
    [
        ({"value": np.array([0, 0.1, 0])}, 0.0, "not float32 numbers"),
        ({}, 0.1, "not float32 numbers"),
        ({"value": np.full(3, 3e38)}, 3e38, "too large for float32"),
        ({"value": np.full(3, 3e39)}, 0.0, "too large for float32"),
        ({}, np.nan, "a baseline that is not a number"),
    ],
)
def test_single_sums_are_of_single_numbers(
    changes: dict[str, Any], baseline: float, told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        assemble([stump(**changes)], baseline=baseline, feature_count=3, single=True)


def test_a_cycle_apart_from_the_root_is_refused() -> None:
    tree = TreeColumns.with_thresholds(
        feature=np.array([-1, 0, 0, -1, -1]), threshold=np.zeros(5),
        left=np.array([0, 2, 1, 0, 0]), right=np.array([0, 3, 4, 0, 0]),
        missing_left=np.zeros(5, np.bool_), value=np.ones(5), cover=np.ones(5),
    )  # fmt: skip
    with pytest.raises(ModelError, match="a cycle"):
        assemble([tree], baseline=0.0, feature_count=1)


def test_trees_have_so_many_nodes_and_cuts_at_most() -> None:
    nodes = np.zeros(NODES_MOST, np.int64)
    with pytest.raises(ModelError, match="more than 4194304 nodes"):
        assemble([stump(feature=nodes), stump()], baseline=0.0, feature_count=3)
    with pytest.raises(ModelError, match="more than 8388608 cuts"):
        assemble([stump(cuts=np.zeros(CUTS_MOST)), stump()], baseline=0.0, feature_count=3)


def test_nodes_may_be_in_any_order() -> None:
    """The right child of the root is an inner node with two cuts, whose children come first."""
    columns = {
        "feature": np.array([0, -1, -1, -1, 1]), "first_cut": np.array([0, 1, 2, 2, 2, 4]),
        "cuts": np.array([0.5, np.nan, 1.0, 2.0]), "left": np.array([3, 9, 9, 9, 1]),
        "right": np.array([4, 9, 9, 9, 2]), "value": np.array([np.nan, 1.0, 2.0, 3.0, np.nan]),
        "cover": np.array([1.0, 3, 1, 4, 4]),
    }  # fmt: skip
    sides = {
        "starts_left": np.array([True, True, True, True, False]),
        "missing_left": np.zeros(5, np.bool_),
    }
    found = assemble([TreeColumns(**columns, **sides)], baseline=0.0, feature_count=2)
    assert found.feature.tolist() == [0, -1, 1, -1, -1]
    assert found.left.tolist() == [1, 1, 3, 3, 4]
    assert found.right.tolist() == [2, 1, 4, 3, 4]
    assert found.cuts.tolist() == [0.5, 1.0, 2.0]
    assert found.first_cut.tolist() == [0, 1, 1, 3, 3, 3]
    assert found.value.tolist() == [2.125, 3.0, 1.25, 1.0, 2.0]
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 2.5], [1.0, np.nan]])
    model = ScoringModel((Part((), found),), 2)
    assert reference_raw(model, rows).tolist() == [3.0, 2.0, 1.0, 2.0, 2.0]


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
        unpack(archive(a__npy=shaped(shape)), "m.skops")


def test_a_schema_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "CHARACTERS_MOST", 100)
    with pytest.raises(ModelError, match="has 101 bytes"):
        unpack(archive(schema__json=b" " * 101), "m.skops")


def test_many_members_are_refused_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="more than 20001 members"):
        unpack(b"PK\x03\x04" + b"PK\x01\x02" * 20_002, "m.skops")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for number in range(20_000):
            file.writestr(f"{number}.npy", shaped((0,)))
    began = time.process_time()
    with pytest.raises(ModelError, match="cannot be loaded"):
        unpack(out.getvalue(), "m.skops")
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
        unpack(archive(schema__json=schema(node)), "m.skops")


def test_an_object_cannot_contain_itself() -> None:
    with pytest.raises(ModelError, match="the object 1 is mentioned in part"):
        unpack(archive(schema__json=schema(of_list([of_list([], 1)], 1))), "m.skops")


def test_an_array_that_many_objects_name_counts_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "ARRAY_BYTES_MOST", 5_000)
    member = shaped((100,)) + bytes(800)
    array = {
        "__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode",
        "type": "numpy", "file": "a.npy",
    }  # fmt: skip
    data = archive(schema__json=schema(of_list([array] * 8, 1)), a__npy=member)
    with pytest.raises(ModelError, match="its objects name over 512 MiB"):
        unpack(data, "m.skops")
    shared = archive(schema__json=schema(of_list([array | {"__id__": 2}] * 8, 1)), a__npy=member)
    found = unpack(shared, "m.skops")
    assert isinstance(found, list)
    assert [each.shape for each in found] == [(100,)] * 8


def test_arrays_are_in_members_that_are_checked() -> None:
    """Arrays in a member of another name would be unpacked without a limit."""
    with pytest.raises(ModelError, match=r"holds 'a\.json', which no skops model"):
        unpack(archive(schema__json=schema(of_list([], 1)), a__json=b"PK"), "m.skops")


def test_one_tree_many_times_is_not_copied_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = deepcopy(MODELS["decision_tree"]).fit(ROWS, FRAUD)
    monkeypatch.setattr(fitted_trees, "NODES_MOST", 3 * tree.tree_.node_count)
    from_decision_trees([tree] * 3, 1)

    def one_too_many() -> Iterator[Any]:
        yield from [tree] * 4
        pytest.fail("it was copied before it was counted")

    with pytest.raises(ModelError, match=r"more than [0-9]+ nodes"):
        from_decision_trees(one_too_many(), 1)


def test_valid_models_pass() -> None:
    for model in MODELS.values():
        data = skops.io.dumps(model.fit(ROWS, FRAUD))
        predictor_for(unpack(data, "m.skops"))


def test_golden_rows_of_endless_numbers_are_refused() -> None:
    data = b'{"features":[[' + b"9" * 400 + b']],"scores":[1],"raw":[1]}'
    with pytest.raises(ModelError, match="is not a golden file"):
        read(data, 1, "m:1.0.0")
