"""Bundles of small ONNX models, and changes by an attacker with write access to their folder."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import content_hash, read_manifest
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.importing.imported import ImportOptions, ModelSource
from stream_scorer.models.importing.onnx.read import read_onnx
from stream_scorer.models.importing.onnx.wire import length_delimited as field
from tests.support.imports.onnx_files import (
    FLOAT,
    INT64,
    attribute,
    classifier,
    graph,
    integers,
    model,
    network,
    node,
    number,
    tensor,
    text,
    value,
)
from tests.support.models.bundle_cases import ROWS, candidate_of, edit, replace

Deed = Callable[[Path], object]
"""Changes a bundle in its folder."""

NETWORK = network(3, 4)


def mixing(features: int = 3) -> bytes:
    """Return a model whose score of a row depends on the mean of the other rows."""
    nodes = [
        node("ReduceMean", ["x"], ["a"], attributes=[attribute("axes", [0, 1])]),
        node("ReduceMean", ["x"], ["b"], attributes=[attribute("axes", [1])]),
        node("Add", ["a", "b"], ["c"]),
        node("Sigmoid", ["c"], ["p"]),
    ]
    return model(graph(nodes, [value("x", FLOAT, ["N", features])], [value("p", FLOAT, None)]))


def of_amounts(*weights: float) -> bytes:
    """Return a network whose score grows with each of three features; the first is the amount.

    Without weights, it decides transactions by amount, night and count in all three ways.
    """
    factors = np.linspace(0.5, 1.5, 4, dtype=np.float32)
    scale = np.array(weights or (0.02, 0.3, 0.02), np.float32)[:, None]
    return model(
        graph(
            [
                node("MatMul", ["x", "w"], ["a"]),
                node("Add", ["a", "b"], ["c"]),
                node("Tanh", ["c"], ["d"]),
                node("MatMul", ["d", "v"], ["e"]),
                node("Sigmoid", ["e"], ["p"]),
            ],
            [value("x", FLOAT, ["N", 3])],
            [value("p", FLOAT, None)],
            [
                tensor("w", scale * factors),
                tensor("b", -factors),
                tensor("v", np.ones((4, 1), np.float32)),
            ],
        )
    )


def write(store: Path, data: bytes = NETWORK, version: str = "1.0.0") -> Path:
    """Write the bundle ``fraud/VERSION`` of a model with three features."""
    source = ModelSource(read_onnx(data, ImportOptions(), ROWS), data, "onnx")
    return write_bundle(store, candidate_of(source, version), ROWS)


def hashed(bundle: Path) -> None:
    """Put the right content hash into a manifest, if it is one."""
    with suppress(ModelError):
        manifest = read_manifest(bundle)
        found = content_hash(
            engine=manifest.engine,
            features=manifest.features,
            thresholds=manifest.thresholds,
            on_model_error=manifest.on_model_error,
            model=(bundle / "model.onnx").read_bytes(),
            onnx=manifest.onnx,
        )
        edit(bundle, lambda m: m.update(content_hash=found))


def states(**table: Any) -> Deed:
    """Return a change of the table ``onnx``, with the right content hash."""

    def deed(bundle: Path) -> None:
        edit(bundle, lambda m: m["onnx"].update(table))
        hashed(bundle)

    return deed


def model_is(data: bytes) -> Deed:
    """Return a change of the model, with the right hashes."""

    def deed(bundle: Path) -> None:
        replace(bundle, "model.onnx", data)
        hashed(bundle)

    return deed


def both(first: Deed, second: Deed) -> Deed:
    """Return one change after another."""

    def deed(bundle: Path) -> None:
        first(bundle)
        second(bundle)

    return deed


def of_xgboost(bundle: Path) -> None:
    """Let the bundle state that it is of another library, with the same files."""

    def change(manifest: dict[str, Any]) -> None:
        del manifest["onnx"]
        manifest["origin"] |= {"library": "xgboost", "file": "original.json"}
        manifest["files"]["original.json"] = manifest["files"].pop("original.onnx")

    edit(bundle, change)
    (bundle / "original.onnx").rename(bundle / "original.json")


def second_model(bundle: Path) -> None:
    """List a second model file."""
    replace(bundle, "model.safetensors", b"")


def many_golden_rows(bundle: Path) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    more = {name: rows * 100 for name, rows in golden.items()}
    replace(bundle, "golden.json", json.dumps(more).encode())


def written(name: str) -> Deed:
    return lambda bundle: (bundle / name).write_bytes(b"")


def large(name: str) -> Deed:
    """Return a change that lets a file have 65 MiB."""

    def deed(bundle: Path) -> None:
        with (bundle / name).open("r+b") as file:
            file.truncate(65 << 20)

    return deed


def flipped(bundle: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)


def stated_text(old: str, new: str) -> Deed:
    """Return a change of the manifest's text."""

    def deed(bundle: Path) -> None:
        path = bundle / "manifest.json"
        found = path.read_text()
        assert found.count(old) == 1
        path.write_text(found.replace(old, new))

    return deed


_X = value("x", FLOAT, ["N", 3])
_P = value("p", FLOAT, None)
_LARGE = number(1, 1 << 14) + number(1, 1 << 14) + number(2, FLOAT) + text(8, "w")
_COUNT = number(1, 1) + number(2, INT64) + text(8, "s")
_COUNT += field(9, np.array([1 << 34]).tobytes())


def _with_tensor(data: bytes, *more: bytes) -> bytes:
    weights = tensor("v", np.ones((3, 1), np.float32))
    nodes = [node("MatMul", ["x", "v"], ["a"]), node("Sigmoid", ["a"], ["p"])]
    return model(graph([*more, *nodes], [_X], [_P], [weights, data]))


_GROWING = _with_tensor(
    _COUNT,
    node("ConstantOfShape", ["s"], ["big"]),
    node("ReduceMax", ["big"], ["most"]),
)
_DIVIDING = _with_tensor(
    integers("d", [-1]),
    node("Cast", ["x"], ["whole"], attributes=[attribute("to", INT64)]),
    node("Div", ["whole", "d"], ["quotient"]),
)
_MULTIPLYING = _with_tensor(
    integers("s", [2000, 2000]),
    node("ConstantOfShape", ["s"], ["big"]),
    node("MatMul", ["big", "big"], ["product"]),
)
_UNFIT = model(
    graph(
        [node("MatMul", ["x", "v"], ["a"]), node("Sigmoid", ["a"], ["p"])], [_X], [_P],
        [tensor("v", np.ones((4, 1), np.float32))],
    )
)  # fmt: skip

HOSTILE: dict[str, tuple[Deed, str]] = {
    # Found by the hashes.
    "flipped-byte": (flipped, "model.onnx is not the file that the manifest names"),
    "no-model": (lambda b: (b / "model.onnx").unlink(), "model.onnx is missing"),
    "no-original": (lambda b: (b / "original.onnx").unlink(), "original.onnx is missing"),
    "other-model": (
        lambda b: replace(b, "model.onnx", network(3, 5)),
        "the content hash does not match the model, features, thresholds, onnx or on_model_error",
    ),
    "other-column": (
        lambda b: edit(b, lambda m: m["onnx"].update(column=1)),
        "the content hash does not match",
    ),
    "other-block": (
        lambda b: edit(b, lambda m: m["onnx"].update(block_rows=32)),
        "the content hash does not match",
    ),
    "other-reference": (
        lambda b: edit(b, lambda m: m["onnx"].update(reference=[0.0, 0.0, None])),
        "the content hash does not match",
    ),
    # Files in the folder.
    "large-model": (large("model.onnx"), "model.onnx is larger than 64 MiB"),
    "large-original": (large("original.onnx"), "original.onnx is larger than 64 MiB"),
    "data-file": (written("model.onnx.data"), "model.onnx.data belongs to ONNX"),
    "second-onnx": (written("other.onnx"), "other.onnx belongs to ONNX"),
    "second-model": (written("model.safetensors"), "model.safetensors is not in the manifest"),
    "second-model-listed": (
        second_model,
        "the manifest lists golden.json, model.onnx, model.safetensors, original.onnx",
    ),
    "other-library": (
        of_xgboost,
        "the manifest lists golden.json, model.onnx, original.json",
    ),
    # The table, with the right content hash.
    "no-table": (lambda b: edit(b, lambda m: m.pop("onnx")), "the table onnx is there if"),
    "table-of-another-library": (
        lambda b: edit(b, lambda m: m["origin"].update(library="xgboost", file="original.json")),
        "the table onnx is there if the library is onnx, and only then",
    ),
    "block-0": (
        states(block_rows=0),
        "onnx.block_rows: Input should be greater than or",
    ),
    "block-negative": (states(block_rows=-64), "onnx.block_rows: Input should be greater"),
    "block-huge": (states(block_rows=1 << 40), "onnx.block_rows: Input should be less than"),
    "block-text": (states(block_rows="64"), "onnx.block_rows: Input should be a valid integer"),
    "block-true": (states(block_rows=True), "onnx.block_rows: Input should be a valid integer"),
    "input-name": (states(input_name="y"), "the manifest's onnx.input_name is not that of"),
    "input-empty": (states(input_name=""), "onnx.input_name: String should have at least 1"),
    "input-long": (states(input_name="x" * 1001), "onnx.input_name: String should have at most"),
    "output-name": (states(output_name="c"), "the manifest's onnx.output_name is not that of"),
    "double": (states(double=True), "the manifest's onnx.double is not that of"),
    "double-text": (states(double="true"), "onnx.double: Input should be a valid boolean"),
    "column": (states(column=1), "model.onnx: it has 1 columns, none of number 1"),
    "column-negative": (states(column=-1), "onnx.column: Input should be greater than"),
    "column-huge": (states(column=1 << 40), "onnx.column: Input should be less than"),
    "reference-short": (
        states(reference=[0.0, 0.0]),
        "onnx.reference has 2 numbers, there are 3 features",
    ),
    "reference-long": (states(reference=[0.0] * 2049), "onnx.reference: Tuple should have at most"),
    "reference-empty": (states(reference=[]), "onnx.reference: Tuple should have at least 1"),
    "reference-text": (
        states(reference=["NaN", 0, 0]),
        "onnx.reference.0: Input should be",
    ),
    "reference-nan": (states(reference=[float("nan"), 0, 0]), "NaN is not a JSON number"),
    "reference-missing": (
        states(reference=[None, None, None]),
        "golden vectors: a sum of attributions is off by nan",
    ),
    "unknown-key": (states(providers=["CUDA"]), "onnx.providers: Extra inputs"),
    # The model, with the right hashes.
    "other-weights": (model_is(network(3, 5)), "golden vectors: a raw score is off"),
    "other-width": (model_is(network(4, 4)), "onnx.reference is not that of model.onnx"),
    "fixed-rows": (model_is(network(3, 4, rows=32)), "onnx.block_rows is not that of model.onnx"),
    "float64": (model_is(network(3, 4, number_type=np.float64)), "onnx.double is not that"),
    "zip-map": (model_is(classifier()), "model.onnx: it has a ZipMap"),
    "cut-off": (model_is(NETWORK[:-1]), "model.onnx: the model ends inside a field"),
    "pickle": (model_is(b"\x80\x04\x95" + b"x" * 40), "model.onnx: the model has an unknown field"),
    "empty": (model_is(b""), "model.onnx: it is empty"),
    "external-data": (
        model_is(_with_tensor(_LARGE + field(13, text(1, "location") + text(2, "/etc/passwd")))),
        "'w' has its data in another file",
    ),
    "one-gibibyte": (model_is(_with_tensor(_LARGE)), "exceed 50,331,648 bytes"),
    "custom-operator": (
        model_is(model(graph([node("Run", ["x"], ["p"], "evil")], [_X], [_P]))),
        "model.onnx: operator 'Run' is of the custom domain",
    ),
    "unfit-weights": (model_is(_UNFIT), "model.onnx: node 0 (MatMul): its shapes"),
    "golden-rows": (many_golden_rows, "golden.json has 6,400 rows, more than 64"),
    "grows": (
        model_is(_GROWING),
        "model.onnx: node 0 (ConstantOfShape): a block of 64 rows needs more than",
    ),
    "divides": (model_is(_DIVIDING), "model.onnx: node 1 (Div): it divides integers"),
    "multiplies": (model_is(_MULTIPLYING), "model.onnx: node 1 (MatMul): a block of 64 rows needs"),
    "many-rows": (
        both(states(block_rows=4096), model_is(network(3, 20_000))),
        "model.onnx: node 0 (MatMul): a block of 4,096 rows needs",
    ),
}
"""By name: a change of a bundle of :data:`NETWORK`, and the reason of the refusal."""
