"""``model.safetensors``: a :class:`ScoringModel` as named arrays; docs/MODEL_FILE.md defines it.

The metadata have ``format``, the kinds of the steps and bodies as JSON (``model``), and the sha256
of each array (``sha256``). Each number of a model is in an array, so no number is rounded to
decimals. Equal models give equal bytes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.files import tensors
from stream_scorer.models.predictors.parts import (
    PARTS_MOST,
    STEPS_MOST,
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
from stream_scorer.models.predictors.rows import FEATURES_MOST
from stream_scorer.models.predictors.trees import (
    TREES_MOST,
    TreeColumns,
    TreeEnsemble,
    assemble,
)
from stream_scorer.security.canonical_json import canonical, parse

Arrays = dict[str, NDArray[Any]]

FORMAT: Final = "stream-scorer model 1"

_NUMBER: Final = "number"
_FLAG: Final = "flag"
_NUMBERS: Final = "numbers"
_COLUMNS: Final = "columns"
_BEFORE: Final[dict[str, tuple[type, dict[str, str]]]] = {
    "affine": (Affine, {"shift": _NUMBERS, "scale": _NUMBERS}),
    "clip": (Clip, {"low": _NUMBER, "high": _NUMBER}),
    "impute": (Impute, {"values": _NUMBERS, "missing": _NUMBER}),
    "integers": (Integers, {"columns": _COLUMNS, "most": _NUMBER}),
    "missing_value": (MissingValue, {"value": _NUMBER, "single": _FLAG}),
    "multiply": (Multiply, {"scale": _NUMBERS, "offset": _NUMBERS}),
    "select": (Select, {"columns": _COLUMNS}),
}
_AFTER: Final[dict[str, tuple[type, dict[str, str]]]] = {
    "platt": (Platt, {"a": _NUMBER, "b": _NUMBER}),
    "sigmoid": (Sigmoid, {"slope": _NUMBER, "intercept": _NUMBER}),
    "single_sigmoid": (SingleSigmoid, {}),
    "table": (Table, {"x": _NUMBERS, "y": _NUMBERS}),
}
_LINEAR: Final = {"weight": _NUMBERS, "intercept": _NUMBER, "mean": _NUMBERS}
_PART: Final = {"divisor": _NUMBER, "scale": _NUMBER, "bias": _NUMBER}
_TYPES: Final = {
    _NUMBER: np.float64, _FLAG: np.bool_, _NUMBERS: np.float64, _COLUMNS: np.int64
}  # fmt: skip
_OF_NODES: Final = {
    "feature": np.int32, "cut_count": np.int32, "starts_left": np.bool_, "left": np.int32,
    "right": np.int32, "missing_left": np.bool_, "value": np.float64, "cover": np.float64,
}  # fmt: skip
_OF_TREES: Final = {
    **_OF_NODES, "cuts": np.float64, "nodes": np.int32, "baseline": np.float64,
    "feature_count": np.int64, "single": np.bool_,
}  # fmt: skip


def write_model(model: ScoringModel) -> bytes:
    """Return the file of a model."""
    arrays: Arrays = {}
    parts = []
    for number, part in enumerate(model.parts):
        place = f"parts.{number}"
        _put(arrays, place, part, _PART)
        trees = isinstance(part.body, TreeEnsemble)
        if isinstance(part.body, TreeEnsemble):
            arrays |= {f"{place}.body.{name}": a for name, a in _tree_arrays(part.body).items()}
        else:
            _put(arrays, f"{place}.body", part.body, _LINEAR)
        steps = {"before": (part.before, _BEFORE), "after": (part.after, _AFTER)}
        kinds = {}
        for side, (given, known) in steps.items():
            kinds[side] = [_name_of(step, known) for step in given]
            for at, (name, step) in enumerate(zip(kinds[side], given, strict=True)):
                _put(arrays, f"{place}.{side}.{at}", step, known[name][1])
        parts.append({"body": "trees" if trees else "linear", **kinds})
    document = {"feature_count": model.feature_count, "parts": parts}
    metadata = {
        "format": FORMAT,
        "model": canonical(document).decode(),
        "sha256": canonical({name: _digest(array) for name, array in arrays.items()}).decode(),
    }
    return tensors.write(metadata, arrays)


def _name_of(step: object, known: Mapping[str, tuple[type, dict[str, str]]]) -> str:
    return next(name for name, (kind, _) in known.items() if kind is type(step))


def _put(arrays: Arrays, place: str, owner: object, fields: Mapping[str, str]) -> None:
    for name, kind in fields.items():
        arrays[f"{place}.{name}"] = np.atleast_1d(np.asarray(getattr(owner, name), _TYPES[kind]))


def _tree_arrays(trees: TreeEnsemble) -> Arrays:
    """Return an ensemble's arrays, with the nodes of each tree numbered from 0."""
    leaf = trees.feature < 0
    sizes = np.diff(np.append(trees.roots, len(leaf)))
    shift = np.repeat(trees.roots, sizes)
    found: Arrays = {
        "feature": trees.feature,
        "cut_count": trees.cut_counts(),
        "starts_left": trees.starts_left,
        "left": np.where(leaf, 0, trees.left - shift),
        "right": np.where(leaf, 0, trees.right - shift),
        "missing_left": trees.missing_left,
        "value": np.where(leaf, trees.value, 0.0),
        "cover": trees.cover,
        "cuts": trees.cuts,
        "nodes": sizes,
        "baseline": np.array([trees.baseline]),
        "feature_count": np.array([trees.feature_count]),
        "single": np.array([trees.single]),
    }
    return {name: array.astype(_OF_TREES[name]) for name, array in found.items()}


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def read_model(data: bytes, name: str) -> ScoringModel:
    """Return the model in a file, every number of which is checked.

    Args:
        data: The file.
        name: What the file is called in messages.

    Raises:
        ModelError: It is malformed; the message names the array or number.
    """
    fix = "import or train the model again"
    try:
        metadata, arrays = tensors.read(data)
        document = _document(metadata, arrays)
        reader = _Reader(arrays)
        parts = tuple(reader.part(f"parts.{at}", part) for at, part in enumerate(document.parts))
        reader.refuse_rest()
        return ScoringModel(parts, document.feature_count)
    except ValueError as error:
        raise ModelError(f"{name}: {error}", fix) from None
    except ModelError as error:
        raise ModelError(f"{name}: {error.what.removeprefix('model: ')}", fix) from None


@dataclass(frozen=True, slots=True)
class _PartKinds:
    body: str
    before: list[str]
    after: list[str]


@dataclass(frozen=True, slots=True)
class _Document:
    feature_count: int
    parts: list[_PartKinds]


def _document(metadata: Mapping[str, str], arrays: Arrays) -> _Document:
    """Return the kinds of a model's parts, after comparing the arrays with their sha256."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its metadata do not name the format {FORMAT!r}")
    if set(metadata) != {"format", "model", "sha256"}:
        raise ValueError("its metadata are not format, model and sha256")
    try:
        document, digests = (parse(metadata[name].encode()) for name in ("model", "sha256"))
    except ValueError as error:
        raise ValueError(f"its metadata: {error}") from None
    for name, array in arrays.items():
        if digests.get(name) != _digest(array):
            raise ValueError(f"array {name} does not have the sha256 in the metadata")
    if len(digests) != len(arrays):
        raise ValueError("its metadata have the sha256 of an array that is not there")
    count, parts = document.get("feature_count"), document.get("parts")
    if set(document) != {"feature_count", "parts"} or not isinstance(parts, list):
        raise ValueError("its model is not feature_count and parts")
    if type(count) is not int or not 0 < count <= FEATURES_MOST:
        raise ValueError(f"its feature_count is not a number from 1 to {FEATURES_MOST}")
    if not 0 < len(parts) <= PARTS_MOST:
        raise ValueError(f"it does not have 1 to {PARTS_MOST} parts")
    return _Document(count, [_part_kinds(part) for part in parts])


def _part_kinds(part: Any) -> _PartKinds:
    if not isinstance(part, dict) or set(part) != {"body", "before", "after"}:
        raise ValueError("a part is not body, before and after")
    if part["body"] not in ("trees", "linear"):
        raise ValueError("a part has an unknown body")
    for side, known in (("before", _BEFORE), ("after", _AFTER)):
        kinds = part[side]
        if not isinstance(kinds, list) or len(kinds) > STEPS_MOST:
            raise ValueError(f"a part does not have at most {STEPS_MOST} steps {side} its body")
        for kind in kinds:
            if not isinstance(kind, str) or kind not in known:
                raise ValueError(f"a part has an unknown step {side} its body")
    return _PartKinds(part["body"], part["before"], part["after"])


class _Reader:
    """Takes the arrays of a file by their names."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = dict(arrays)

    def part(self, place: str, kinds: _PartKinds) -> Part:
        before = tuple(
            self._step(f"{place}.before.{at}", _BEFORE[kind])
            for at, kind in enumerate(kinds.before)
        )
        after = tuple(
            self._step(f"{place}.after.{at}", _AFTER[kind]) for at, kind in enumerate(kinds.after)
        )
        body: TreeEnsemble | LinearWeights
        if kinds.body == "trees":
            body = self._trees(f"{place}.body")
        else:
            body = LinearWeights(**self._fields(f"{place}.body", _LINEAR))
        return Part(before, body, after=after, **self._fields(place, _PART))

    def refuse_rest(self) -> None:
        for name in sorted(self._arrays):
            raise ValueError(f"array {name} is not part of the model")

    def _step(self, place: str, kind: tuple[type, dict[str, str]]) -> Any:
        of, fields = kind
        return of(**self._fields(place, fields))

    def _fields(self, place: str, fields: Mapping[str, str]) -> dict[str, Any]:
        found = {}
        for name, kind in fields.items():
            array = self._take(f"{place}.{name}", _TYPES[kind])
            if kind in (_NUMBER, _FLAG):
                found[name] = self._only(f"{place}.{name}", array)
            else:
                found[name] = array
        return found

    def _take(self, name: str, kind: Any) -> NDArray[Any]:
        array = self._arrays.pop(name, None)
        if array is None:
            raise ValueError(f"array {name} is missing")
        if array.dtype != kind:
            raise ValueError(f"array {name} is of another type")
        return array

    def _only(self, name: str, array: NDArray[Any]) -> Any:
        if len(array) != 1:
            raise ValueError(f"array {name} does not have one value")
        return array[0].item()

    def _trees(self, place: str) -> TreeEnsemble:
        found = {name: self._take(f"{place}.{name}", kind) for name, kind in _OF_TREES.items()}
        baseline, feature_count, single = (
            self._only(f"{place}.{name}", found[name])
            for name in ("baseline", "feature_count", "single")
        )
        sizes, counts = found["nodes"].astype(np.int64), found["cut_count"].astype(np.int64)
        nodes = len(found["feature"])
        for name in _OF_NODES:
            if len(found[name]) != nodes:
                raise ValueError(f"array {place}.{name} does not have a value for each node")
        if not 0 < len(sizes) <= TREES_MOST:
            raise ValueError(f"array {place}.nodes does not have 1 to {TREES_MOST} trees")
        if sizes.min() <= 0 or sizes.sum() != nodes:
            raise ValueError(f"array {place}.nodes does not add up to the nodes")
        if counts.min() < 0 or counts.sum() != len(found["cuts"]):
            raise ValueError(f"array {place}.cut_count does not add up to the cuts")
        first_cut = np.concatenate([[0], np.cumsum(counts)])
        ends = np.cumsum(sizes).tolist()
        trees = []
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            at = slice(begin, end)
            cuts = first_cut[begin : end + 1]
            trees.append(
                TreeColumns(
                    found["feature"][at], cuts - cuts[0], found["cuts"][cuts[0] : cuts[-1]],
                    found["starts_left"][at], found["left"][at], found["right"][at],
                    found["missing_left"][at], found["value"][at], found["cover"][at],
                )
            )  # fmt: skip
        return assemble(trees, baseline=baseline, feature_count=feature_count, single=single)
