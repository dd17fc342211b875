# ruff: noqa: E501 a line for each file
"""Each hostile or unsupported ONNX file is refused in one line that names its cause."""

import struct

import numpy as np
import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.onnx.file import BYTES_MOST, NODES_MOST, judge
from stream_scorer.models.importing.onnx.wire import length_delimited, varint
from tests.support.imports.onnx_files import (
    DOUBLE,
    FLOAT,
    INT64,
    attribute,
    classifier,
    graph,
    model,
    network,
    node,
    number,
    refused_within,
    tensor,
    text,
    value,
)

SECONDS_MOST = 10
X = value("x", FLOAT, ["N", 2])
P = value("p", FLOAT, ["N", 1])
COPY = node("Identity", ["x"], ["p"])
ONES = np.ones((2, 2), np.float32)


def of(*nodes: bytes, inputs: tuple[bytes, ...] = (X,), outputs: tuple[bytes, ...] = (P,)) -> bytes:
    return model(graph(nodes, inputs, outputs))


def with_tensor(data: bytes) -> bytes:
    return model(graph([COPY], [X], [P], [data]))


def with_attribute(data: bytes, operator: str = "Identity") -> bytes:
    return of(node(operator, ["x"], ["p"], attributes=[data]))


def typed(field: int) -> bytes:
    return text(1, "p") + length_delimited(2, length_delimited(field, b""))


BIG = number(1, 1 << 14) + number(1, 1 << 14) + number(2, FLOAT) + text(8, "w")
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "too-large": (bytes(BYTES_MOST + 1), "67,108,865 bytes, more than 67,108,864"),
    "pickle": (b"\x80\x04\x95" + b"x" * 40, "the model has an unknown field 64"),
    "field-0": (b"\0\0", "a field with the number 0"),
    "group": (varint(7 << 3 | 3), "the unknown encoding 3"),
    "cut-off": (network()[:-1], "the model ends inside a field"),
    "length-too-large": (varint(58) + varint(1 << 62), "ends inside a field of 4611686018427387904"),
    "long-number": (varint(8) + b"\xff" * 11, "a number of more than 64 bits"),
    "open-number": (varint(8) + b"\xff", "the model ends inside a number"),
    "unknown-field": (model(b"", more=number(99, 1)), "the model has an unknown field 99"),
    "other-encoding": (text(1, "8"), "ir_version has another encoding"),
    "graph-twice": (model(b"", more=length_delimited(7, b"")), "graph occurs twice"),
    "tiny-fields": (model(b"\x0a\0" * 200_001), "more than 200,000 fields"),
    "no-graph": (length_delimited(8, number(2, 17)), "it has no graph"),
    "no-operators": (model(b"", domains=()), "it imports no operators"),
    "domain-twice": (model(b"", domains=("", "ai.onnx")), "operators of ai.onnx in two versions"),
    "import-custom": (model(b"", domains=("", "evil")), "the custom domain 'evil'"),
    "functions": (model(b"", more=length_delimited(25, b"")), "it has functions"),
    "training": (model(b"", more=length_delimited(20, b"")), "it has training information"),
    "runtime-options": (
        model(b"", more=length_delimited(14, text(1, "ort_config") + text(2, "{}"))),
        "options of ONNX Runtime",
    ),
    "not-utf8": (of(length_delimited(4, b"\xff")), "op_type is not UTF-8"),
    "long-name": (of(text(4, "x" * 1001)), "op_type is longer than 1,000 bytes"),
    "no-nodes": (of(), "it has 0 nodes"),
    "many-nodes": (of(*[COPY] * (NODES_MOST + 1)), "it has 10,001 nodes"),
    "custom-operator": (of(node("Run", ["x"], ["p"], "evil")), "'Run' is of the custom domain"),
    "microsoft": (of(node("Gelu", ["x"], ["p"], "com.microsoft")), "'com.microsoft'"),
    "unknown-operator": (of(node("Quux", ["x"], ["p"])), "'Quux' is not supported"),
    "loop": (of(node("Loop", ["x"], ["p"])), "'Loop' is control flow"),
    "scan": (of(node("Scan", ["x"], ["p"])), "'Scan' is control flow"),
    "if": (of(node("If", ["x"], ["p"])), "'If' is control flow"),
    "random": (of(node("RandomNormalLike", ["x"], ["p"])), "'RandomNormalLike' is random"),
    "multinomial": (of(node("Multinomial", ["x"], ["p"])), "'Multinomial' is random"),
    "bernoulli": (of(node("Bernoulli", ["x"], ["p"])), "'Bernoulli' is random"),
    "sequence": (of(node("SequenceConstruct", ["x"], ["p"])), "makes sequences"),
    "dropout": (of(node("Dropout", ["x", "", "x"], ["p"])), "(Dropout) is in training mode"),
    "batch-norm": (
        with_attribute(attribute("training_mode", 1), "BatchNormalization"),
        "(BatchNormalization) is in training mode",
    ),
    "subgraph": (with_attribute(text(1, "b") + length_delimited(6, b"")), "'b' is a graph"),
    "subgraphs": (with_attribute(text(1, "b") + length_delimited(11, b"")), "'b' is graphs"),
    "sparse-value": (with_attribute(text(1, "b") + text(22, "")), "'b' is a sparse tensor"),
    "attribute-twice": (
        of(node("Identity", ["x"], ["p"], attributes=[attribute("a", 1)] * 2)),
        "has the attribute 'a' twice",
    ),
    "attribute-type": (
        with_attribute(text(1, "axis") + number(3, 1) + number(20, 7)),
        "'axis' has another type than its value",
    ),
    "attribute-values": (
        with_attribute(attribute("axis", 1) + number(8, 1)),
        "'axis' has another type than its value",
    ),
    "cycle": (
        of(node("Add", ["x", "b"], ["a"]), node("Identity", ["a"], ["b"])),
        "node 0 reads 'b', which no earlier node writes",
    ),
    "writes-twice": (of(COPY, COPY), "node 1 writes 'p' a second time"),
    "writes-input": (of(node("Identity", ["x"], ["x"])), "node 0 writes 'x' a second time"),
    "external": (with_tensor(BIG + length_delimited(13, b"")), "'w' has its data in another file"),
    "external-place": (with_tensor(BIG + number(14, 1)), "'w' has its data in another file"),
    "segment": (with_tensor(BIG + length_delimited(3, b"")), "'w' is a segment"),
    "one-gibibyte": (with_tensor(BIG), "exceed 50,331,648 bytes"),
    "overflow": (with_tensor(number(1, 1 << 62) * 4 + number(2, FLOAT) + text(8, "w")), "exceed"),
    "negative-dimension": (with_tensor(number(1, -1) + number(2, 1) + text(8, "w")), "negative"),
    "dimensions": (with_tensor(number(1, 1) * 9 + number(2, 1) + text(8, "w")), "dims has more than 8 numbers"),
    "data-type": (with_tensor(number(2, 23) + text(8, "w")), "unsupported data type 23"),
    "short-data": (
        with_tensor(number(1, 3) + number(2, 1) + text(8, "w") + length_delimited(9, b"abcd")),
        "'w' has 4 bytes, its shape has 12",
    ),
    "odd-data": (
        with_tensor(number(1, 1) + number(2, 1) + text(8, "w") + length_delimited(4, b"abc")),
        "float_data ends inside a number",
    ),
    "data-twice": (
        with_tensor(tensor("w", ONES) + length_delimited(4, struct.pack("<f", 1.0))),
        "'w' has its data twice",
    ),
    "same-name": (model(graph([COPY], [X], [P], [tensor("w", ONES)] * 2)), "two initialisers"),
    "sparse": (model(graph([COPY], [X], [P]) + length_delimited(15, b"")), "sparse initialisers"),
    "constant": (with_attribute(text(1, "value") + length_delimited(5, BIG), "Constant"), "exceed"),
    "no-input": (of(COPY, inputs=()), "it has 0 inputs"),
    "two-inputs": (of(COPY, inputs=(X, value("y", FLOAT, ["N", 2]))), "it has 2 inputs"),
    "integers": (of(COPY, inputs=(value("x", INT64, ["N", 2]),)), "not a tensor of float or double"),
    "vector": (of(COPY, inputs=(value("x", FLOAT, [2]),)), "does not have two dimensions"),
    "no-shape": (of(COPY, inputs=(value("x", DOUBLE, None),)), "does not have two dimensions"),
    "wide": (of(COPY, inputs=(value("x", FLOAT, ["N", 1 << 40]),)), "1,099,511,627,776 features"),
    "many-rows": (of(COPY, inputs=(value("x", FLOAT, [1 << 20, 2]),)), "1,048,576 rows"),
    "no-output": (of(COPY, outputs=()), "0 outputs of float numbers (none)"),
    "foreign-output": (of(COPY, outputs=(value("q", FLOAT, None),)), "no node writes the output 'q'"),
    "input-as-output": (of(COPY, outputs=(X,)), "no node writes the output 'x'"),
    "two-outputs": (
        of(COPY, node("Exp", ["x"], ["q"]), outputs=(P, value("q", FLOAT, None))),
        "2 outputs of float numbers ('p', 'q')",
    ),
    "map": (of(COPY, outputs=(typed(5),)), "the output 'p' is a map, not a tensor"),
    "list": (of(COPY, outputs=(typed(4),)), "the output 'p' is a sequence, not a tensor"),
    "optional": (of(COPY, outputs=(typed(9),)), "the output 'p' is a optional, not a tensor"),
    "no-type": (of(COPY, outputs=(text(1, "p"),)), "no name or no type"),
    "hidden-zip-map": (of(COPY, node("ZipMap", ["p"], ["m"], "ai.onnx.ml")), "not an output"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_by_name(name: str) -> None:
    data, message = FILES[name]
    assert message in refused_within(SECONDS_MOST, lambda: judge(data))


def test_the_same_version_of_operators_may_be_imported_twice() -> None:
    inner = graph([COPY], [X], [P])
    assert judge(model(inner, domains=("", "", "ai.onnx.ml", "ai.onnx.ml"))).opset == 17


@pytest.mark.parametrize("data", [network(), classifier()], ids=["network", "classifier"])
def test_every_shortened_file_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(ModelError):
            judge(data[:length])


def test_a_changed_byte_is_judged_or_refused_with_one_error() -> None:
    data = bytearray(network(2, 2))
    outcomes = {True: 0, False: 0}
    for at in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            data[at] ^= flip
            try:
                judge(bytes(data))
                outcomes[True] += 1
            except ModelError:
                outcomes[False] += 1
            data[at] ^= flip
    assert min(outcomes.values()) > 50
