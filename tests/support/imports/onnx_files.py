"""ONNX files, written field by field, so that a test can also write what no exporter writes."""

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.onnx.wire import length_delimited, varint

FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11
UINT8, INT8, INT32, BOOL = 2, 3, 6, 9
_INTEGERS: Final[dict[int, type]] = {
    UINT8: np.uint8, INT8: np.int8, INT32: np.int32, INT64: np.int64, BOOL: np.bool_,
}  # fmt: skip


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value % (1 << 64))


def text(field: int, value: str) -> bytes:
    return length_delimited(field, value.encode())


def tensor(name: str, values: NDArray[np.float32] | NDArray[np.float64]) -> bytes:
    kind = FLOAT if values.dtype == np.float32 else DOUBLE
    dims = b"".join(number(1, each) for each in values.shape)
    return dims + number(2, kind) + text(8, name) + length_delimited(9, values.tobytes())


def integers(name: str, values: Any, kind: int = INT64) -> bytes:
    """Return a tensor of integers, of any number of dimensions."""
    found: NDArray[Any] = np.array(values, _INTEGERS[kind])
    dims = b"".join(number(1, each) for each in found.shape)
    return dims + number(2, kind) + text(8, name) + length_delimited(9, found.tobytes())


def attribute(name: str, value: float | str | Sequence[int] | Sequence[float]) -> bytes:
    out = text(1, name)
    if isinstance(value, int):
        return out + number(3, value) + number(20, 2)
    if isinstance(value, float):
        return out + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, 1)
    if isinstance(value, str):
        return out + text(4, value) + number(20, 3)
    if all(isinstance(each, int) for each in value):
        return out + b"".join(number(8, int(each)) for each in value) + number(20, 7)
    each = (varint(7 << 3 | 5) + struct.pack("<f", one) for one in value)
    return out + b"".join(each) + number(20, 6)


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    domain: str = "",
    attributes: Sequence[bytes] = (),
) -> bytes:
    out = b"".join(text(1, each) for each in inputs) + b"".join(text(2, each) for each in outputs)
    out += text(4, operator) + (text(7, domain) if domain else b"")
    return out + b"".join(length_delimited(5, each) for each in attributes)


def value(name: str, kind: int, shape: Sequence[int | str] | None) -> bytes:
    """Return a named tensor type; a text is an open dimension, None no shape."""
    inner = number(1, kind)
    if shape is not None:
        dims = (number(1, one) if isinstance(one, int) else text(2, one) for one in shape)
        inner += length_delimited(2, b"".join(length_delimited(1, each) for each in dims))
    return text(1, name) + length_delimited(2, length_delimited(1, inner))


def graph(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    initialisers: Sequence[bytes] = (),
) -> bytes:
    parts = ((1, nodes), (5, initialisers), (11, inputs), (12, outputs))
    out = text(2, "g")
    return out + b"".join(length_delimited(at, each) for at, many in parts for each in many)


def model(
    inner: bytes,
    domains: Sequence[str] = ("", "ai.onnx.ml"),
    more: bytes = b"",
    opset: int = 17,
) -> bytes:
    """Return a file; ``more`` follows its fields."""
    out = number(1, 8) + text(2, "test") + text(3, "1.0")
    for domain in domains:
        version = opset if domain == "" else 3
        out += length_delimited(8, text(1, domain) + number(2, version))
    return out + length_delimited(7, inner) + more


def network(
    features: int = 6,
    hidden: int = 8,
    *,
    columns: int = 1,
    number_type: type = np.float32,
    rows: int | str = "N",
) -> bytes:
    """Return a network of two layers with random weights."""
    generator = np.random.default_rng(features * 1000 + hidden)
    kind = FLOAT if number_type is np.float32 else DOUBLE
    first: NDArray[Any] = generator.normal(size=(features, hidden)).astype(number_type)
    second: NDArray[Any] = generator.normal(size=(hidden, columns)).astype(number_type)
    last = (
        node("Sigmoid", ["c"], ["p"])
        if columns == 1
        else node("Softmax", ["c"], ["p"], attributes=[attribute("axis", 1)])
    )
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Tanh", ["a"], ["b"])]
    return model(
        graph(
            [*nodes, node("MatMul", ["b", "v"], ["c"]), last],
            [value("x", kind, [rows, features])],
            [value("p", kind, None)],
            [tensor("w", first), tensor("v", second)],
        )
    )


def classifier(labels: Sequence[int] = (0, 1)) -> bytes:
    """Return a linear classifier of two features with a label and a ZipMap, as skl2onnx writes."""
    count = len(labels)
    linear = [
        attribute("coefficients", [float(each) for each in range(-count, count)]),
        attribute("intercepts", [0.5] * count),
        attribute("classlabels_ints", list(labels)),
        attribute("post_transform", "SOFTMAX"),
    ]
    keyed = [attribute("classlabels_int64s", list(labels))]
    key_and_float = number(1, INT64) + length_delimited(2, length_delimited(1, number(1, FLOAT)))
    each = length_delimited(5, key_and_float)
    maps = text(1, "m") + length_delimited(2, length_delimited(4, length_delimited(1, each)))
    return model(
        graph(
            [
                node("LinearClassifier", ["x"], ["label", "p"], "ai.onnx.ml", linear),
                node("ZipMap", ["p"], ["m"], "ai.onnx.ml", keyed),
            ],
            [value("x", FLOAT, ["N", 2])],
            [value("label", INT64, ["N"]), maps],
        )
    )


def refused_within(seconds: float, read: Callable[[], object]) -> str:
    """Return the refusal of a file: one line, within so many seconds of processor time."""
    began = time.process_time()
    with pytest.raises(ModelError) as refused:
        read()
    assert time.process_time() - began < seconds
    found = str(refused.value)
    assert found.startswith("ONNX file: ")
    assert "\n" not in found
    return found
