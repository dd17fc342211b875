"""A model file with every kind of step, and files that a client with write access may put there."""

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.files import tensors
from stream_scorer.models.files.model_file import write_model
from stream_scorer.models.predictors.parts import (
    Affine,
    Clip,
    Impute,
    Integers,
    LinearWeights,
    MissingValue,
    Multiply,
    Part,
    Platt,
    ScoringModel,
    Select,
    Sigmoid,
    SingleSigmoid,
    Table,
)
from tests.support.models.random_models import ensemble

Arrays = dict[str, NDArray[Any]]
ONES = np.ones(2)
EVERY = ScoringModel(
    (
        Part(
            (
                Impute(np.array([1.0, np.nan])), Affine(ONES, ONES), Multiply(ONES, ONES),
                Clip(-1.0, 1.0), Select(np.array([1, 0, 1])), MissingValue(np.inf, single=True),
                Integers(np.array([0, 2]), 9.0),
            ),
            ensemble(1, trees=3, leaves=5, features=3, most_cuts=3, single=True),
            divisor=2.0, scale=3.0, bias=4.0,
            after=(SingleSigmoid(), Table(np.arange(3.0), np.array([0.0, 0.5, 1.0]))),
        ),
        Part(
            (), LinearWeights(ONES, 0.5, ONES), after=(Sigmoid(2.0, 1.0), Platt(1.0, 2.0)),
        ),
    ),
    2,
)  # fmt: skip
"""A model with every kind of step and body."""
DATA = write_model(EVERY)
"""Its file."""


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(change: Callable[[dict[str, Any]], object], text: str | None = None) -> bytes:
    """Return the file with another header before the same arrays."""
    header, rest = header_of(DATA)
    change(header)
    written = (json.dumps(header) if text is None else text).encode()
    return struct.pack("<Q", len(written)) + written + rest


def entry(name: str, **changes: Any) -> bytes:
    return with_header(lambda header: header[name].update(changes))


def metadata(**changes: Any) -> bytes:
    return with_header(lambda header: header["__metadata__"].update(changes))


def document(change: Callable[[dict[str, Any]], object]) -> bytes:
    found = json.loads(header_of(DATA)[0]["__metadata__"]["model"])
    change(found)
    return metadata(model=json.dumps(found))


def arrays(change: Callable[[Arrays], object]) -> bytes:
    """Return the file with other arrays, and their sha256."""
    found, held = tensors.read(DATA)
    change(held)
    digests = {
        name: hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()
        for name, array in held.items()
    }
    return tensors.write({**found, "sha256": json.dumps(digests)}, held)


def put(name: str, *values: Any, kind: Any = np.float64) -> bytes:
    return arrays(lambda held: held.update({name: np.array(values, kind)}))


def at(name: str, index: int, value: Any) -> bytes:
    def change(held: Arrays) -> None:
        held[name] = held[name].copy()
        held[name][index] = value

    return arrays(change)


def without(name: str) -> bytes:
    return arrays(lambda held: held.pop(name))


def flipped() -> bytes:
    data = bytearray(DATA)
    data[-30] ^= 1
    return bytes(data)


TREES = "parts.0.body"
INNER = int(np.flatnonzero(tensors.read(DATA)[1][f"{TREES}.feature"] >= 0)[0])
LEAF = int(np.flatnonzero(tensors.read(DATA)[1][f"{TREES}.feature"] < 0)[0])
NODES = len(tensors.read(DATA)[1][f"{TREES}.feature"])
FIRST = next(iter(tensors.read(DATA)[1]))
LARGEST = float(np.finfo(np.float32).max)
HOSTILE: dict[str, tuple[bytes, str]] = {
    # The layout.
    "no bytes": (b"", "shorter than the length of a header"),
    "a pickle": (b"\x80\x05.", "shorter than the length of a header"),
    "a zip": (b"PK\x03\x04" + bytes(60), "its header is longer than"),
    "a header of 2^63 bytes": (struct.pack("<Q", 1 << 63) + DATA[8:], "longer than 1 MiB"),
    "a header that is longer than the file": (DATA[:50], "its header is longer than the file"),
    "a header of no bytes": (struct.pack("<Q", 0) + DATA[8:], "its header: Expecting value"),
    "a header that is not JSON": (with_header(dict, "{,"), "its header: Expecting property"),
    "a header that is a list": (with_header(dict, "[]"), "its header: is not a JSON object"),
    "a header nested 100,000 deep": (
        with_header(dict, '{"a":' * 100_000), "its header: nested deeper than 200 levels",
    ),
    "a header with a name twice": (
        with_header(dict, '{"a": 1, "a": 2}'), "the key 'a' is there twice",
    ),
    "a number of 5,000 digits": (
        with_header(dict, '{"a": ' + "9" * 5_000 + "}"), "its header: Exceeds the limit",
    ),
    "metadata that are numbers": (metadata(format=1), "its metadata are not texts"),
    "metadata that are a list": (
        with_header(lambda h: h.update(__metadata__=[])), "its metadata are not texts",
    ),
    "5,000 arrays": (
        with_header(lambda h: h.update({str(n): {} for n in range(5_000)})),
        "more than 4096 arrays",
    ),
    "a name of 101 letters": (with_header(lambda h: h.update({"a" * 101: {}})), "array's name"),
    "a name with a line feed": (with_header(lambda h: h.update({"a\n": {}})), "array's name"),
    "an array that is a number": (
        with_header(lambda h: h.update(x=1)), "array x is not described by",
    ),
    "an array with one more key": (
        entry("parts.0.scale", more=1), "array parts.0.scale is not described by",
    ),
    "an array of float16": (entry("parts.0.scale", dtype="F16"), "not one of BOOL, F64, I32, I64"),
    "a type that is a list": (entry("parts.0.scale", dtype=[]), "not one of BOOL"),
    "a shape of two dimensions": (
        entry("parts.0.scale", shape=[1, 1]), "does not have a shape of one dimension",
    ),
    "a shape of -1": (entry("parts.0.scale", shape=[-1]), "a shape of one dimension"),
    "a shape of a float": (entry("parts.0.scale", shape=[1.0]), "a shape of one dimension"),
    "a shape of true": (entry("parts.0.scale", shape=[True]), "a shape of one dimension"),
    "a shape of 2^60": (
        entry("parts.0.scale", shape=[1 << 60]), "does not have the length of its shape",
    ),
    "a shape of 2^60 with such offsets": (
        entry(FIRST, shape=[1 << 60], data_offsets=[0, 1 << 63]),
        f"array {FIRST} is longer than the file",
    ),
    "three offsets": (entry("parts.0.scale", data_offsets=[0, 8, 16]), "two offsets"),
    "an offset of a text": (entry("parts.0.scale", data_offsets=["0", 8]), "two offsets"),
    "an array over another": (
        entry("parts.0.scale", data_offsets=[0, 8]), "does not begin where the previous one ends",
    ),
    "an array after a gap": (
        with_header(lambda h: h.pop("parts.0.scale")), "does not begin where the previous one ends",
    ),
    "bytes after the last array": (DATA + b"\0", "it continues after its last array"),
    "the last byte is missing": (DATA[:-1], "is longer than the file"),
    "a flag of 7": (
        DATA[:-1] + b"\x07", "has a value that is neither true nor false",
    ),
    # The metadata.
    "another format": (metadata(format="stream-scorer model 2"), "do not name the format"),
    "one more text": (metadata(more=""), "its metadata are not format, model and sha256"),
    "a model that is not JSON": (metadata(model="{"), "its metadata: Expecting"),
    "a flipped bit": (flipped(), "does not have the sha256 in the metadata"),
    "no sha256": (metadata(sha256="{}"), "does not have the sha256 in the metadata"),
    "the sha256 of another array": (
        with_header(
            lambda h: h["__metadata__"].update(
                sha256=json.dumps({**json.loads(h["__metadata__"]["sha256"]), "x": "0"})
            )
        ),
        "the sha256 of an array that is not there",
    ),
    "a model without features": (
        document(lambda d: d.update(feature_count=0)), "feature_count is not a number from 1",
    ),
    "2^40 features": (
        document(lambda d: d.update(feature_count=1 << 40)), "feature_count is not a number from 1",
    ),
    "a text for the features": (document(lambda d: d.update(feature_count="2")), "not a number"),
    "no parts": (document(lambda d: d.update(parts=[])), "does not have 1 to 100 parts"),
    "101 parts": (document(lambda d: d.update(parts=d["parts"][1:] * 101)), "1 to 100 parts"),
    "parts that are a number": (document(lambda d: d.update(parts=2)), "not feature_count and"),
    "one more key": (document(lambda d: d.update(more=1)), "its model is not feature_count and"),
    "a part that is a text": (document(lambda d: d["parts"].append("x")), "a part is not body"),
    "an unknown body": (document(lambda d: d["parts"][1].update(body="net")), "an unknown body"),
    "an unknown step": (document(lambda d: d["parts"][1].update(before=["exec"])), "step before"),
    "a step of a list": (document(lambda d: d["parts"][1].update(after=[[]])), "step after"),
    "17 steps": (
        document(lambda d: d["parts"][1].update(after=["sigmoid"] * 17)), "at most 16 steps after",
    ),
    "a third part": (
        document(lambda d: d["parts"].append(d["parts"][1])), "parts.2.after.0.slope is missing",
    ),
    # The arrays.
    "no thresholds": (without(f"{TREES}.cuts"), f"array {TREES}.cuts is missing"),
    "an array too many": (put("parts.0.more", 1.0), "array parts.0.more is not part of the model"),
    "weights of integers": (
        put("parts.1.body.weight", 1, 2, kind=np.int64), "weight is of another type",
    ),
    "two intercepts": (put("parts.1.body.intercept", 1, 2), "intercept does not have one value"),
    "an intercept of infinity": (put("parts.1.body.intercept", np.inf), "an intercept that is not"),
    "three weights": (put("parts.1.body.weight", 1, 2, 3), "weights for (3,) columns, not 2"),
    "a weight of NaN": (put("parts.1.body.weight", 1, np.nan), "weights with a number that is not"),
    "a divisor of 0": (put("parts.0.divisor", 0.0), "a divisor of 0"),
    "a divisor of NaN": (put("parts.0.divisor", np.nan), "a divisor, scale or bias that is not"),
    "a scale of 1e300": (put("parts.0.scale", 1e300), "a divisor, scale or bias that is not"),
    "a scaler of 0": (put("parts.0.before.1.scale", 1, 0), "a scale of 0"),
    "a scaler for one column": (put("parts.0.before.1.shift", 1.0), "a scaler for (1,) columns"),
    "an imputed infinity": (put("parts.0.before.0.values", 1, np.inf), "imputed values with"),
    "limits out of order": (put("parts.0.before.3.low", 2.0), "a limit below another"),
    "column 2 of two": (
        put("parts.0.before.4.columns", 1, 0, 2, kind=np.int64), "columns that are not among 2",
    ),
    "column -1": (
        put("parts.0.before.4.columns", 1, 0, -1, kind=np.int64), "columns that are not among 2",
    ),
    "a category that is not a column": (
        put("parts.0.before.6.columns", 3, kind=np.int64), "columns that are not among 3",
    ),
    "categories of any size": (put("parts.0.before.6.most", np.inf), "a limit that is not a us"),
    "no column": (put("parts.0.before.4.columns", kind=np.int64), "columns that are not among 2"),
    "a table that does not ascend": (put("parts.0.after.1.x", 0, 2, 2), "points do not ascend"),
    "a table of other lengths": (put("parts.0.after.1.y", 0, 1), "half a table"),
    "a table without points": (put("parts.0.after.1.x"), "a table without points"),
    "a table up to 2": (put("parts.0.after.1.y", 0, 1, 2), "a table with a number that is not"),
    "a slope of NaN": (put("parts.1.after.0.slope", np.nan), "a sigmoid that is not"),
    "trees for 5 columns": (
        put(f"{TREES}.feature_count", 5, kind=np.int64), "trees for 5 columns, not 3",
    ),
    "trees for 2^40 columns": (
        put(f"{TREES}.feature_count", 1 << 40, kind=np.int64), "its trees hold 1099511627776 feat",
    ),
    "no tree": (put(f"{TREES}.nodes", kind=np.int32), "does not have 1 to 131072 trees"),
    "a tree of no node": (
        put(f"{TREES}.nodes", 0, NODES, kind=np.int32), "nodes does not add up to the nodes",
    ),
    "a tree of -1 nodes": (
        put(f"{TREES}.nodes", -1, NODES + 1, kind=np.int32), "does not add up to the nodes",
    ),
    "fewer nodes than in the trees": (
        put(f"{TREES}.nodes", NODES + 1, kind=np.int32), "does not add up to the nodes",
    ),
    "fewer values than nodes": (put(f"{TREES}.value", 1.0), "value does not have a value for each"),
    "fewer cuts than counted": (put(f"{TREES}.cuts", 1.0), "cut_count does not add up to the cuts"),
    "-1 cuts": (at(f"{TREES}.cut_count", 0, -1), "cut_count does not add up to the cuts"),
    "a child outside of its tree": (at(f"{TREES}.left", INNER, NODES), "a child outside its tree"),
    "a child -1": (at(f"{TREES}.right", INNER, -1), "a child outside its tree"),
    "a child twice": (
        at(f"{TREES}.left", INNER, int(tensors.read(DATA)[1][f"{TREES}.right"][INNER])),
        "a node without just one parent",
    ),
    "a node that is its own child": (at(f"{TREES}.left", INNER, 0), "without just one parent"),
    "a split on feature 3 of 3": (at(f"{TREES}.feature", INNER, 3), "a feature that it does not"),
    "a split on feature -2": (at(f"{TREES}.feature", INNER, -2), "a split on no feature"),
    "a cut at NaN": (at(f"{TREES}.cuts", 0, np.nan), "a split at no number"),
    "a leaf of NaN": (at(f"{TREES}.value", LEAF, np.nan), "a leaf without a number"),
    "a leaf of infinity": (at(f"{TREES}.value", LEAF, np.inf), "a leaf without a number"),
    "a leaf of 0.1 in a float32 sum": (at(f"{TREES}.value", LEAF, 0.1), "not float32 numbers"),
    "leaves that overflow float32": (put(f"{TREES}.value", *[LARGEST] * NODES), "too large for fl"),
    "a baseline of NaN": (put(f"{TREES}.baseline", np.nan), "a baseline that is not a number"),
    "a cover below 0": (at(f"{TREES}.cover", 0, -1.0), "a cover that is not a number of rows"),
}  # fmt: skip
"""Each file, and the reason of its refusal."""
