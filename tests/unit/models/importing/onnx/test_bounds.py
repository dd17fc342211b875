"""The shapes that bound a run are those of ONNX Runtime, and each bound refuses by name."""

import importlib
from typing import Any

import numpy as np
import pytest

from stream_scorer.models.importing.onnx.bounds import RULES, judge_run
from stream_scorer.models.importing.onnx.file import judge
from stream_scorer.models.importing.onnx.operators import KNOWN
from tests.support.imports.onnx_files import FLOAT, graph, model, node, value
from tests.support.imports.onnx_operators import CASES, COLUMNS, KINDS, ROWS

LAST = node("Identity", ["x"], ["p"])
X = value("x", FLOAT, ["N", COLUMNS])
NEWER = {"Gelu": 20, "Mish": 18, "GroupNormalization": 21, "RMSNormalization": 23, "Swish": 24,
         "Split-equal": 18}  # fmt: skip
VALUES = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)


def test_each_operator_has_a_rule_and_a_case() -> None:
    known = set().union(*KNOWN.values())
    assert set(RULES) == known
    assert {each.split("-")[0] for each in CASES} >= known - {"ZipMap"}


@pytest.mark.parametrize("name", CASES)
def test_the_shapes_and_integers_are_those_of_the_runtime(name: str) -> None:
    nodes, constants = CASES[name]
    opset = NEWER.get(name, 17)
    alone = graph([*nodes, LAST], [X], [value("p", FLOAT, None)], constants)
    file = judge(model(alone, opset=opset))
    found = judge_run(file, ROWS, COLUMNS)
    written = [each for one in file.graph.nodes for each in one.outputs]
    outputs = [value(each, found[each].kind, None) for each in written]
    ran = _run(model(graph([*nodes, LAST], [X], outputs, constants), opset=opset))
    for each, result in zip(written, ran, strict=True):
        assert (each, found[each].shape) == (each, result.shape)
        assert found[each].kind == KINDS[str(result.dtype)]
        values = found[each].values
        assert values is None or values.tolist() == result.tolist()
    if name == "shapes":
        assert all(found[each].values is not None for each in ("open", "flat", "steps", "s3"))


def _run(data: bytes) -> list[Any]:
    library = importlib.import_module("onnxruntime")
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = library.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": VALUES}))
