"""ONNX Runtime in blocks of one size: a row's bits depend on the row alone."""

from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.onnx.read import read_onnx
from stream_scorer.models.predictors.onnx_session import OnnxPredictor
from tests.support.imports.onnx_files import (
    FLOAT,
    attribute,
    classifier,
    graph,
    model,
    network,
    node,
    value,
)

PLAIN = ImportOptions()
ROWS = np.random.default_rng(1).normal(size=(150, 6))


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("number_type", [np.float32, np.float64])
def test_a_row_has_the_same_bits_in_any_batch(number_type: type, columns: int) -> None:
    found = read_onnx(network(columns=columns, number_type=number_type), PLAIN, ROWS)
    assert (found.depends_on, found.model.block_rows) == ("", 64)
    predictor = OnnxPredictor(found.model)
    scores = predictor.scores(ROWS)
    assert len(np.unique(scores)) > 100
    for size in (1, 7, 64, 65):
        parts = [predictor.scores(ROWS[at : at + size]) for at in range(0, len(ROWS), size)]
        assert np.concatenate(parts).tobytes() == scores.tobytes()


def test_attributions_add_up_to_the_raw_score() -> None:
    predictor = OnnxPredictor(read_onnx(network(), PLAIN, ROWS).model)
    found, base = predictor.attributions(ROWS)
    assert np.abs(found.sum(axis=1) + base - predictor.raw(ROWS)).max() < 1e-9
    assert predictor.attributions(ROWS[3:4])[0].tobytes() == found[3:4].tobytes()


def test_a_model_that_mixes_rows_is_run_row_by_row() -> None:
    mean = node("ReduceMean", ["x"], ["a"], attributes=[attribute("axes", [0, 1])])
    nodes = [mean, node("ReduceMean", ["x"], ["b"], attributes=[attribute("axes", [1])])]
    nodes += [node("Add", ["a", "b"], ["c"]), node("Sigmoid", ["c"], ["p"])]
    data = model(graph(nodes, [value("x", FLOAT, ["N", 6])], [value("p", FLOAT, None)]))
    found = read_onnx(data, PLAIN, ROWS)
    assert (found.depends_on, found.model.block_rows) == ("its neighbours", 1)


def test_a_zip_map_is_removed_and_the_fraud_class_is_named() -> None:
    rows = ROWS[:, :2]
    found = read_onnx(classifier(), PLAIN, rows)
    assert (found.model.column, found.parameters["zip_map_removed"]) == (1, True)
    three = classifier((3, 5, 9))
    with pytest.raises(ModelError, match="3 columns whose classes are not 0 and 1"):
        read_onnx(three, PLAIN, rows)
    assert read_onnx(three, ImportOptions(fraud_class="9"), rows).model.column == 2
    with pytest.raises(ModelError, match="no class '7'; its classes: '3', '5', '9'"):
        read_onnx(three, ImportOptions(fraud_class="7"), rows)


def test_what_is_not_a_probability_is_refused() -> None:
    nodes = [node("ReduceSum", ["x"], ["p"]), node("ReduceMax", ["x"], ["q"])]
    data = model(graph(nodes[1:], [value("x", FLOAT, ["N", 6])], [value("q", FLOAT, None)]))
    with pytest.raises(ModelError, match="not one number or one row"):
        read_onnx(data, PLAIN, ROWS)
    nodes = [node("Identity", ["x"], ["p"])]
    data = model(graph(nodes, [value("x", FLOAT, ["N", 1])], [value("p", FLOAT, None)]))
    with pytest.raises(ModelError, match="not a probability"):
        read_onnx(data, PLAIN, ROWS[:, :1])


def test_a_model_that_the_runtime_refuses_is_one_line() -> None:
    found = read_onnx(network(), PLAIN, ROWS).model
    with pytest.raises(ModelError, match="does not load") as refused:
        OnnxPredictor(replace(found, data=b"\x08\x08"))
    assert "\n" not in str(refused.value)
