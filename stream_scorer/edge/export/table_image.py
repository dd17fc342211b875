"""From a model and its policy to a table image: the file that the kernels for devices read.

The trees' tables are those of the stream: leaf masks where trees are small, nodes to walk where
they are not. So an image has the same sums, bit for bit.
"""

import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.edge.export.policy_image import PolicyImage
from stream_scorer.edge.native import image
from stream_scorer.errors import EdgeError
from stream_scorer.models.predictors import leaf_masks, tree_walk
from stream_scorer.models.predictors.parts import (
    Affine,
    After,
    Before,
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
from stream_scorer.models.predictors.trees import TreeEnsemble

_KINDS: Final[dict[type[Before | After], int]] = {
    Impute: image.IMPUTE, Affine: image.AFFINE, Multiply: image.MULTIPLY, Clip: image.CLIP,
    Select: image.SELECT, Integers: image.INTEGERS, MissingValue: image.MISSING,
    Sigmoid: image.SIGMOID, SingleSigmoid: image.SINGLE_SIGMOID, Table: image.TABLE,
    Platt: image.PLATT,
}  # fmt: skip


class _Writer:
    """Collects arrays, each at a multiple of the alignment, behind the header."""

    def __init__(self) -> None:
        self._data = bytearray(_aligned(image.HEADER.itemsize))

    def put(self, values: Any, dtype: Any) -> int:
        """Append an array; return where it starts."""
        at = len(self._data)
        data = np.asarray(values).astype(dtype).tobytes()
        self._data += data.ljust(_aligned(len(data)), b"\0")
        return at

    def put_texts(self, texts: tuple[str, ...]) -> tuple[int, int]:
        """Append texts; return where their starts and their bytes are."""
        encoded = [text.encode() for text in texts]
        starts = np.cumsum([0, *map(len, encoded)])
        return self.put(starts, "<u4"), self.put(np.frombuffer(b"".join(encoded), "u1"), "u1")

    def finished(self, header: NDArray[np.void]) -> bytes:
        """Return the image with its header, length and checksum."""
        header["magic"] = np.void(image.MAGIC)
        header["abi"], header["bytes"] = image.ABI, len(self._data)
        size = image.HEADER.itemsize
        self._data[:size] = header.tobytes()
        header["checksum"] = zlib.crc32(memoryview(self._data)[16:])
        self._data[:size] = header.tobytes()
        return bytes(self._data)


def _aligned(size: int) -> int:
    return -(-size // image.ALIGNMENT) * image.ALIGNMENT


def image_of(model: ScoringModel, policy: PolicyImage, names: tuple[str, ...]) -> bytes:
    """Return the table image of a model under a policy.

    Args:
        model: The model.
        policy: Its policy, see :func:`~stream_scorer.edge.export.policy_image.policy_image`.
        names: The features' names.

    Raises:
        EdgeError: There are not as many names as features.
    """
    if len(names) != model.feature_count:
        raise EdgeError(
            f"model: it takes {model.feature_count} features, {len(names)} are named",
            "use the bundle's own manifest",
        )
    writer = _Writer()
    header = np.zeros(1, image.HEADER)
    parts = np.zeros(len(model.parts), image.PART)
    steps: list[tuple[int, int, float, float, int, int]] = []
    for number, part in enumerate(model.parts):
        parts["first_step"][number] = len(steps)
        steps += [_step(writer, step) for step in (*part.before, *part.after)]
        _write_part(writer, part, parts[number : number + 1])
    header["features"], header["parts"] = model.feature_count, len(parts)
    header["steps"] = len(steps)
    header["parts_at"] = writer.put(parts, image.PART)
    header["steps_at"] = writer.put(np.array(steps, image.STEP), image.STEP)
    header["name_starts_at"], header["names_at"] = writer.put_texts(names)
    _write_policy(writer, policy, header)
    return writer.finished(header)


def _write_policy(writer: _Writer, policy: PolicyImage, header: NDArray[np.void]) -> None:
    fields = np.zeros(len(policy.fields), image.FIELD)
    for row, field in zip(fields, policy.fields, strict=True):
        row["values"] = len(field.values)
        row["bits_at"] = writer.put(field.bits, "<u8")
        row["starts_at"], row["texts_at"] = writer.put_texts((field.name, *field.values))
    header["fields"], header["segments"] = len(fields), len(policy.limits) - 2
    header["edges"], header["on_model_error"] = len(policy.edges), policy.on_model_error
    header["fields_at"] = writer.put(fields, image.FIELD)
    header["edges_at"] = writer.put(policy.edges, "<i8")
    header["edge_bits_at"] = writer.put(policy.edge_bits, "<u8")
    header["limits_at"] = writer.put(policy.limits, "<f8")


def _step(writer: _Writer, step: Before | After) -> tuple[int, int, float, float, int, int]:
    """Return a step as in the image: kind, count, two numbers, and where its arrays are."""
    arrays: list[NDArray[Any]] = []
    a = b = 0.0
    match step:
        case Impute(values, a):
            arrays = [values]
        case Affine(first, second) | Multiply(first, second) | Table(first, second):
            arrays = [first, second]
        case Select(columns):
            arrays = [columns]
        case Integers(columns, a):
            arrays = [columns]
        case Clip(a, b) | MissingValue(a, b) | Sigmoid(a, b) | Platt(a, b):
            pass
        case SingleSigmoid():
            pass
    count = len(arrays[0]) if arrays else 0
    places = [writer.put(each, "<f8" if each.dtype.kind == "f" else "<i4") for each in arrays]
    first_at, second_at = [*places, 0, 0][:2]
    return _KINDS[type(step)], count, a, float(b), first_at, second_at


def _write_part(writer: _Writer, part: Part, row: NDArray[np.void]) -> None:
    """Write the arrays of a part, and its description to ``row`` (PART[1])."""
    row["before"], row["after"] = len(part.before), len(part.after)
    row["divisor"], row["scale"], row["bias"] = part.divisor, part.scale, part.bias
    body = part.body
    if isinstance(body, LinearWeights):
        row["kind"], row["width"] = image.LINEAR, len(body.weight)
        row["baseline"] = body.intercept
        row["weights_at"] = writer.put(body.weight, "<f8")
        return
    row["width"], row["single"] = body.feature_count, body.single
    row["baseline"], row["trees"] = body.baseline, len(body.roots)
    masks = leaf_masks.build(body)
    if masks is None:
        _write_nodes(writer, body, row)
    else:
        _write_masks(writer, masks, row)


def _write_masks(writer: _Writer, masks: leaf_masks.LeafMasks, row: NDArray[np.void]) -> None:
    row["kind"], row["leaves"] = image.MASKS, masks.leaves.shape[1]
    row["columns"], row["cuts"] = len(masks.columns), len(masks.cuts)
    row["groups"], row["places"] = masks.places.shape
    row["used"], row["lines"] = len(masks.used), len(masks.table)
    row["columns_at"] = writer.put(masks.columns, "<i4")
    row["cuts_at"] = writer.put(masks.cuts, "<f8")
    row["places_at"] = writer.put(masks.places, "<u2")
    row["groups_at"] = writer.put(masks.groups, "<i4")
    row["used_at"] = writer.put(masks.used, "<i4")
    row["table_at"] = writer.put(masks.table, masks.table.dtype.newbyteorder("<"))
    row["values_at"] = writer.put(masks.leaves, masks.leaves.dtype.newbyteorder("<"))


def _write_nodes(writer: _Writer, trees: TreeEnsemble, row: NDArray[np.void]) -> None:
    ordered, nodes, depths = tree_walk.lay_out(trees)
    most = int(ordered.cut_counts().max())
    # One more, so that the right child of the last leaf is inside.
    row["kind"], row["nodes"] = image.WALK, len(nodes) + 1
    row["levels"] = most.bit_length() if most > 1 else 0
    number = "<f4" if trees.single else "<f8"
    row["nodes_at"] = writer.put(np.append(nodes, nodes[-1:]), image.NODE)
    row["values_at"] = writer.put(np.append(ordered.value, 0.0), number)
    row["roots_at"] = writer.put(ordered.roots, "<i4")
    row["depths_at"] = writer.put(depths, "<i4")
    if most > 1:
        row["cuts"] = len(ordered.cuts)
        row["cuts_at"] = writer.put(ordered.cuts, "<f8")
        row["first_cut_at"] = writer.put(np.append(ordered.first_cut, len(ordered.cuts)), "<u4")
