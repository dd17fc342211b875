# ruff: noqa: E501 a line for each file
"""Each graph that can end the process, or has no small bound, is refused before it is run."""

import tracemalloc
from typing import Final

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.onnx import bounds, independence
from stream_scorer.models.importing.onnx.bounds import judge_run
from stream_scorer.models.importing.onnx.file import judge
from stream_scorer.models.importing.onnx.read import judge_onnx, read_onnx
from stream_scorer.models.predictors.onnx_session import OnnxPredictor
from stream_scorer.models.predictors.predictors import predictor_of
from tests.support.imports.onnx_files import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    attribute,
    graph,
    integers,
    model,
    network,
    node,
    number,
    refused_within,
    tensor,
    text,
    value,
)
from tests.support.imports.onnx_operators import CASES, cast, floats, held, one, texts

PLAIN = ImportOptions()
ROWS: Final = np.random.default_rng(3).normal(size=(100, 6))
SECONDS_MOST = 5
INT: Final = cast(7)
LAST: Final = node("Identity", ["x"], ["score"])


def of(nodes: list[bytes], constants: list[bytes], opset: int = 17, rows: int | str = "N") -> bytes:
    x, score = value("x", FLOAT, [rows, 6]), value("score", FLOAT, None)
    return model(graph([*nodes, LAST], [x], [score], constants), opset=opset)


def poison() -> bytes:
    """Return a model that ends a process without bounds, but only for a row with x0 = 12345."""
    nodes = [
        node("Equal", ["x", "k"], ["e"]),
        node("Where", ["e", "least", "one"], ["i"]),
        node("Div", ["i", "b"], ["q"]),
        cast(1, "q", "f"),
        node("Add", ["x", "f"], ["c"]),
    ]
    numbers = [integers("b", -1), integers("least", -(1 << 63)), integers("one", 1)]
    return of(nodes, [*numbers, tensor("k", np.array(12345, np.float32))])


def square(size: int) -> bytes:
    """Return a small file with a product of two large integer matrices."""
    nodes = [
        node("ConstantOfShape", ["s"], ["c"], attributes=[held("value", integers("", [1], INT32))]),
        node("MatMul", ["c", "c"], ["d"]),
    ]
    return of(nodes, [integers("s", [size, size])])


def divided(operator: str, divisor: int, kind: int = INT64) -> bytes:
    nodes = [cast(kind), node(operator, ["i", "b"], ["c"])]
    return of(nodes, [integers("b", [divisor], kind)])


def shaped(operator: str, *inputs: str) -> bytes:
    """Return a model in which ``i``, integers of the features, gives a shape."""
    return of([INT, node(operator, inputs, ["c"])], [integers("one", [1]), integers("zero", [0])])


def chain(operator: str, count: int, *attributes: bytes, opset: int = 17) -> bytes:
    names = ["x", *(f"k{each}" for each in range(count))]
    extra = ["s", "s"] if operator == "GroupNormalization" else []
    nodes = [
        node(operator, [names[at], *extra], [names[at + 1]], attributes=attributes)
        for at in range(count)
    ]
    return of(nodes, [tensor("s", floats(6))], opset)


OPERATIONS = "needs more than 67,108,864 operations"
CONSTANT = "must be constant integers, at most 1,024"
DIVISOR = "it divides integers by what is not a constant other than 0 and -1"
FILES: Final[dict[str, tuple[bytes, str]]] = {
    "poison": (poison(), f"node 2 (Div): {DIVISOR}"),
    "div-minus-1": (divided("Div", -1), f"(Div): {DIVISOR}"),
    "div-minus-1-short": (divided("Div", -1, INT32), f"(Div): {DIVISOR}"),
    "div-0": (divided("Div", 0), f"(Div): {DIVISOR}"),
    "mod-0": (divided("Mod", 0), f"(Mod): {DIVISOR}"),
    "mod-minus-1": (divided("Mod", -1), f"(Mod): {DIVISOR}"),
    "div-features": (of([INT, node("Div", ["i", "i"], ["c"])], []), f"(Div): {DIVISOR}"),
    "div-many": (of([INT, node("Gather", ["i", "z"], ["j"]), node("Div", ["i", "m"], ["c"])], [integers("m", np.full((2048, 1), 2)), integers("z", 0)]), DIVISOR),
    "pow": (of([INT, node("Pow", ["i", "i"], ["c"])], []), "powers of integers"),
    "reshape": (shaped("Reshape", "x", "i"), f"(Reshape): its shape {CONSTANT}"),
    "expand": (shaped("Expand", "x", "i"), f"(Expand): its shape {CONSTANT}"),
    "tile": (shaped("Tile", "x", "i"), f"(Tile): its repeats {CONSTANT}"),
    "constant-of-shape": (shaped("ConstantOfShape", "i"), f"its shape {CONSTANT}"),
    "range": (shaped("Range", "zero", "i", "one"), f"its start, limit and step {CONSTANT}"),
    "slice": (shaped("Slice", "x", "zero", "i"), f"(Slice): its ends {CONSTANT}"),
    "pad": (shaped("Pad", "x", "i"), f"(Pad): its pads {CONSTANT}"),
    "one-hot": (shaped("OneHot", "i", "i", "x"), f"(OneHot): its depth {CONSTANT}"),
    "top-k": (shaped("TopK", "x", "i"), f"(TopK): its number {CONSTANT}"),
    "split": (shaped("Split", "x", "i"), f"(Split): its split {CONSTANT}"),
    "squeeze": (shaped("Squeeze", "x", "i"), f"(Squeeze): its axes {CONSTANT}"),
    "unsqueeze": (shaped("Unsqueeze", "x", "i"), f"(Unsqueeze): its axes {CONSTANT}"),
    "reduce": (shaped("ReduceSum", "x", "i"), f"(ReduceSum): its axes {CONSTANT}"),
    "cum-sum": (shaped("CumSum", "x", "i"), f"(CumSum): its axis {CONSTANT}"),
    "scatter": (shaped("ScatterElements", "x", "i", "x"), "its indices must be constants"),
    "scatter-nd": (shaped("ScatterND", "x", "i", "x"), "its indices must be constants"),
    "square-6000": (square(6000), f"node 0 (ConstantOfShape): a block of 64 rows {OPERATIONS}"),
    "square-2000": (square(2000), f"node 1 (MatMul): a block of 64 rows {OPERATIONS}"),
    "256-mebibytes": (of(*one("ConstantOfShape", ["s"], s=[64 << 20])), OPERATIONS),
    "overflow": (of(*one("ConstantOfShape", ["s"], s=[1 << 33] * 2)), OPERATIONS),
    "expand-much": (of(*one("Expand", ["x", "s"], s=[1 << 40, 1, 1])), OPERATIONS),
    "tile-much": (of(*one("Tile", ["x", "s"], s=[1 << 40, 1])), OPERATIONS),
    "range-much": (of(*one("Range", ["a", "b", "d"], a=0, b=1 << 30, d=1)), OPERATIONS),
    "range-wide": (of(*one("Range", ["a", "b", "d"], a=0, b=1 << 62, d=1 << 61)), "not single numbers below"),
    "pad-much": (of(*one("Pad", ["x", "s"], s=[1 << 40, 0, 0, 0])), OPERATIONS),
    "one-hot-much": (of([INT, *one("OneHot", ["i", "d", "v"])[0]], [integers("d", 1 << 40), tensor("v", floats(2))]), OPERATIONS),
    "concat-grows": (of([node("Concat", [f"k{at - 1}" if at else "x"] * 2, [f"k{at}"], attributes=[attribute("axis", 0)]) for at in range(40)], []), OPERATIONS),
    "einsum": (of(*one("Einsum", ["x", "w"], attribute("equation", "ij,kl->i"), w=floats(300, 300))), OPERATIONS),
    "categories": (of(*one("OneHotEncoder", ["x"], attribute("cats_int64s", list(range(40_000))), domain="ai.onnx.ml")), OPERATIONS),
    "targets": (of(*one("LinearRegressor", ["x"], attribute("coefficients", [1.0]), attribute("targets", 1 << 40), domain="ai.onnx.ml")), OPERATIONS),
    "texts": (of([cast(8), node("Concat", ["i"] * 200, ["c"], attributes=[attribute("axis", 1)])], []), "a block of 64 rows needs more than 67,108,864 bytes of tensors"),
    "long-text": (of([node("Constant", [], ["c"], attributes=[texts("value_strings", "x" * 1001)])], []), "is longer than 1,000 bytes"),
    "long-text-tensor": (of([], [text(6, "x" * 1001) + b"\x08\x01\x10\x08" + text(8, "w")]), "a text of more than 1,000 bytes"),
    "many-integers": (of([node("Identity", ["x"], ["c"], attributes=[text(1, "a") + text(8, "\0" * 1_000_001) + number(20, 7)])], []), "more than 1,000,000 integers"),
    "many-expanded": (chain("GroupNormalization", 1000, attribute("num_groups", 2), opset=21), OPERATIONS),
    "empty": (of(*one("Slice", ["x", "a", "a"], a=[1])), "(Slice): its output is empty"),
    "empty-mean": (of([node("ReduceMean", ["w"], ["c"])], [integers("w", [])]), "it reduces an empty tensor"),
    "data-type": (of([cast(17)], []), "the data type 17 is not supported"),
    "known-where": (of([node("Where", ["a", "b", "c"], ["d"])], [integers("a", np.ones((1024, 1, 1)) > 0, BOOL), integers("b", np.ones((1, 1024, 1))), integers("c", np.ones((1024,)))]), OPERATIONS),
    "known-outer": (of([node("Add", ["a", "b"], ["c"]), node("Equal", ["a", "c"], ["d"]), node("Concat", ["a"] * 50_000, ["e"], attributes=[attribute("axis", 0)])], [integers("a", np.ones((1024, 1))), integers("b", np.ones((1, 1024)))]), OPERATIONS),
    "step-0": (of(*one("Range", ["a", "b", "d"], a=0, b=5, d=0)), "its step is 0"),
    "dimensions": (of(*one("Unsqueeze", ["x", "a"], a=list(range(7)))), "more than 8 dimensions"),
    "old": (of([], [], opset=6), "it has version 6 of the operators, older than 7"),
    "fixed-rows": (network(6, 2000, rows=4096), "node 0 (MatMul): a block of 4,096 rows needs"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_graph_without_a_bound_is_refused_by_name(name: str) -> None:
    data, message = FILES[name]
    rows = 4096 if name == "fixed-rows" else 64
    assert message in refused_within(SECONDS_MOST, lambda: judge_run(judge(data), rows, 6))


@pytest.mark.parametrize("name", ["poison", "square-6000", "fixed-rows"])
def test_an_import_refuses_it_before_the_data_are_read(name: str) -> None:
    data, message = FILES[name]
    with pytest.raises(ModelError) as refused:
        judge_onnx(data, PLAIN)
    assert message.split(":")[0] in str(refused.value)


def test_open_features_are_judged_before_the_first_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(_self: OnnxPredictor, _model: object) -> None:
        raise AssertionError

    monkeypatch.setattr(OnnxPredictor, "__init__", run)
    x = value("x", FLOAT, ["N", "M"])
    nodes = [INT, node("Div", ["i", "i"], ["c"]), LAST]
    data = model(graph(nodes, [x], [value("score", FLOAT, None)]))
    with pytest.raises(ModelError, match="it divides integers"):
        read_onnx(data, PLAIN, ROWS)


def test_a_large_network_is_run_row_by_row() -> None:
    large = read_onnx(network(6, 300_000), PLAIN, ROWS)
    assert (large.model.block_rows, large.depends_on) == (1, "")
    assert read_onnx(network(6, 3000), PLAIN, ROWS).model.block_rows == 64


def test_a_fixed_block_of_many_rows_is_compared_in_part() -> None:
    found = read_onnx(network(rows=1024), PLAIN, ROWS)
    assert (found.model.block_rows, found.depends_on) == (1024, "")


def test_the_bounds_count_from_the_first_node_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    file = judge(chain("Relu", 40))
    judge_run(file, 64, 6)
    monkeypatch.setattr(bounds, "RUN_BYTES_MOST", 64 * 6 * 4 * 40)
    with pytest.raises(ModelError, match=r"node 40 \(Identity\): a block of 64 rows needs more"):
        judge_run(file, 64, 6)


def test_all_measurements_of_a_file_share_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independence, "SECONDS_MOST", 0.0)
    with pytest.raises(ModelError, match="take more than 0 s of processor time to compare"):
        read_onnx(network(), PLAIN, ROWS)


@pytest.mark.parametrize("operator", ["Gather", "ArrayFeatureExtractor", "GatherElements"])
@pytest.mark.parametrize("far", [24.0, -25.0, 1e12, -1e12, np.nan, np.inf])
def test_an_index_out_of_range_is_an_error_of_the_row(operator: str, far: float) -> None:
    domain = "ai.onnx.ml" if operator == "ArrayFeatureExtractor" else ""
    nodes = [
        cast(7, "x0"),
        node("Gather", ["x", "zero"], ["x0"], attributes=[attribute("axis", 1)]),
        node("Reshape", ["i", "flat"], ["j"]),
        node(operator, ["w", "j"], ["g"], domain),
        node("Reshape", ["g", "column"], ["h"]),
        node("Sigmoid", ["h"], ["p"]),
    ]
    nodes[0], nodes[1] = nodes[1], nodes[0]
    numbers = [integers("zero", [0]), integers("flat", [-1]), integers("column", [-1, 1])]
    inner = graph(
        nodes, [value("x", FLOAT, ["N", 6])], [value("p", FLOAT, None)],
        [*numbers, tensor("w", np.linspace(-1, 1, 24, dtype=np.float32))],
    )  # fmt: skip
    rows = np.abs(ROWS)
    found = read_onnx(model(inner), PLAIN, rows).model
    assert found.block_rows == 1
    predictor = predictor_of(found)
    rows = rows[:3].copy()
    sound = predictor.scores(rows)
    rows[1, 0] = far
    with pytest.raises(ModelError, match="cannot be run"):
        predictor.scores(rows)
    assert predictor.scores(rows[::2]).tolist() == sound[::2].tolist()


def test_known_integers_are_computed_only_if_they_are_few() -> None:
    tall, wide, deep = (np.ones(shape) for shape in ((1024, 1, 1), (1, 1024, 1), (1, 1, 1024)))
    constants = [integers("a", tall), integers("b", wide), integers("c", deep)]
    equal = node("Equal", ["a", "a"], ["e"])
    data = of([equal, node("Where", ["e", "b", "c"], ["d"])], constants)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=OPERATIONS):
            judge_run(judge(data), 64, 6)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_changed_byte_is_bounded_or_refused_with_one_error() -> None:
    outcomes = {True: 0, False: 0}
    generator = np.random.default_rng(11)
    for nodes, constants in CASES.values():
        data = bytearray(of(nodes, constants))
        for at in generator.integers(len(data), size=20).tolist():
            flip = int(generator.choice([1, 2, 0x10, 0x80, 0xFF]))
            data[at] ^= flip
            try:
                judge_run(judge(bytes(data)), 64, 6)
                outcomes[True] += 1
            except ModelError:
                outcomes[False] += 1
            data[at] ^= flip
    assert min(outcomes.values()) > 100
