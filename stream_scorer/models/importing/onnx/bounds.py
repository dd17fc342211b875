"""Judges a run of a block of rows: each shape is computed, and the work has a maximum."""

from collections.abc import Mapping
from typing import Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.onnx import elementwise, moving, sums, traditional
from stream_scorer.models.importing.onnx.call import Call, NodeResult
from stream_scorer.models.importing.onnx.file import DIMENSIONS_MOST, OnnxFile
from stream_scorer.models.importing.onnx.graph import DOUBLE, FLOAT, WIDTHS, Node, Tensor

OPERATIONS_MOST: Final = 1 << 26
"""Maximum operations of a run: multiplications of float32 matrices, or what takes as long."""

RUN_BYTES_MOST: Final = 64 * 1024 * 1024
"""Maximum bytes of all tensors that a run writes."""

_NODE: Final = 1 << 12
"""Operations that count for each node, so that many small nodes cannot take long."""

_EXPANDED: Final = {
    **dict.fromkeys(("CastLike", "HardSwish", "Mish", "RMSNormalization", "Swish"), 1 << 15),
    "GroupNormalization": 1 << 18,
}
"""The same for operators that ONNX Runtime replaces by several, when it loads a model."""

OPSET_LEAST: Final = 7
"""Oldest version of ``ai.onnx``: before it, shapes had other rules."""

RULES: Final = {**elementwise.RULES, **moving.RULES, **sums.RULES, **traditional.RULES}
"""The rules by operator. No name is in both domains."""


def judge_run(file: OnnxFile, rows: int, columns: int) -> Mapping[str, Tensor]:
    """Refuse a model whose run of a block takes too long or too much memory, without running it.

    Args:
        file: The judged file.
        rows: Rows of a block.
        columns: Features of a row.

    Returns:
        What is known of each tensor of the run, by name.

    Raises:
        ModelError: A bound is exceeded, a shape depends on the features, or a node can end the
            process; the message names the node.
    """
    if 0 < file.opset < OPSET_LEAST:
        raise ModelError(
            f"ONNX file: it has version {file.opset} of the operators, older than {OPSET_LEAST}",
            "export the model again, with a newer version",
        )
    known: dict[str, Tensor] = dict(file.graph.constants)
    known[file.input_name] = Tensor(DOUBLE if file.double else FLOAT, (rows, columns))
    operations = memory = 0
    for number, node in enumerate(file.graph.nodes):
        try:
            found = _result(node, known)
            operations += found.operations + _EXPANDED.get(node.operator, _NODE)
            memory += found.memory + sum(map(_bytes, found.outputs))
            _judge_sums(operations, memory, rows)
        except ValueError as error:
            raise ModelError(
                f"ONNX file: node {number} ({node.operator}): {error}",
                "export a smaller model, whose shapes, indices and divisors are constants",
            ) from None
        known.update(zip(node.outputs, found.outputs, strict=False))
    return known


def fits(file: OnnxFile, rows: int, columns: int) -> bool:
    """Return whether a block of some rows is within the bounds."""
    try:
        judge_run(file, rows, columns)
    except ModelError:
        return False
    return True


def _result(node: Node, known: Mapping[str, Tensor]) -> NodeResult:
    inputs = tuple(known[name] if name else None for name in node.inputs)
    found = RULES[node.operator](Call(node, inputs))
    if len(node.outputs) > len(found.outputs):
        raise ValueError(f"it has {len(node.outputs)} outputs")
    return found


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of an output.

    Raises:
        ValueError: It has too many dimensions, an unsupported data type, or is empty although it
            is no list of integers.
    """
    if tensor.kind not in WIDTHS:
        raise ValueError(f"the data type {tensor.kind} is not supported")
    if len(tensor.shape) > DIMENSIONS_MOST:
        raise ValueError(f"its output has more than {DIMENSIONS_MOST} dimensions")
    if not tensor.elements and tensor.values is None:
        raise ValueError("its output is empty")
    return tensor.elements * WIDTHS[tensor.kind]


def _judge_sums(operations: int, memory: int, rows: int) -> None:
    block = "a row" if rows == 1 else f"a block of {rows:,} rows"
    if operations > OPERATIONS_MOST:
        raise ValueError(f"{block} needs more than {OPERATIONS_MOST:,} operations")
    if memory > RUN_BYTES_MOST:
        raise ValueError(f"{block} needs more than {RUN_BYTES_MOST:,} bytes of tensors")
