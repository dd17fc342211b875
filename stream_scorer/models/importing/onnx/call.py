"""One node with what is known of its inputs: what a rule reads."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.models.importing.onnx.graph import (
    FLOAT,
    INTEGERS,
    VALUES_MOST,
    Attribute,
    Int64,
    Node,
    Tensor,
)

MOVED: Final = 8
"""Operations that count for moving or adding an element; a product of matrices has 1 for each."""

FUNCTION: Final = 64
"""Operations that count for a function of an element, such as an exponential."""

PRODUCT: Final = 4
"""Operations that count for a multiplication in a product of other matrices than float32."""

_EXACT_MOST: Final = 1 << 31
_NOTHING: Final = Attribute()


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What a node writes.

    Attributes:
        outputs: All outputs that it can have.
        operations: Operations of a run, see :data:`MOVED`.
        memory: Bytes of a run besides the outputs.
    """

    outputs: tuple[Tensor, ...]
    operations: int
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A node and its inputs.

    Attributes:
        node: The node.
        inputs: What is known of its inputs; None for one that is left out.
    """

    node: Node
    inputs: tuple[Tensor | None, ...]

    def input(self, number: int) -> Tensor:
        """Return an input.

        Raises:
            ValueError: It is left out.
        """
        found = self.optional(number)
        if found is None:
            raise ValueError(f"it has no input {number}")
        return found

    def optional(self, number: int) -> Tensor | None:
        """Return an input; None if it is left out."""
        return self.inputs[number] if number < len(self.inputs) else None

    def given(self) -> list[Tensor]:
        """Return all inputs.

        Raises:
            ValueError: There is none, or one is left out.
        """
        return [self.input(number) for number in range(max(1, len(self.inputs)))]

    def attribute(self, name: str) -> Attribute:
        """Return an attribute, empty if the node does not have it."""
        return self.node.attributes.get(name, _NOTHING)

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute, or its default."""
        found = self.node.attributes.get(name)
        return default if found is None else found.integer

    def known(self, number: int, what: str) -> Int64:
        """Return the integers of an input.

        Args:
            number: Of the input.
            what: What they are, for messages.

        Raises:
            ValueError: They depend on the features, or are too many to be known.
        """
        found = self.input(number)
        if found.values is None:
            raise ValueError(f"its {what} must be constant integers, at most {VALUES_MOST:,}")
        return found.values

    def listed(self, number: int, name: str) -> list[int] | None:
        """Return the integers of an input, which is an attribute in older versions.

        Args:
            number: Of the input.
            name: Of the attribute.

        Returns:
            None if there is neither.

        Raises:
            ValueError: They depend on the features.
        """
        if self.optional(number) is not None:
            return [int(each) for each in self.known(number, name).reshape(-1)]
        found = self.node.attributes.get(name)
        return None if found is None else list(found.integers)

    def axis(self, default: int, rank: int, name: str = "axis") -> int:
        """Return the attribute that names an axis, counted from the first one.

        Raises:
            ValueError: There is no such axis.
        """
        return place(self.integer(name, default), rank)


Rule = Callable[[Call], NodeResult]
"""Returns what a node writes; raises ValueError for what is not supported or has no bound."""


def place(axis: int, rank: int) -> int:
    """Return an axis counted from the first one.

    Raises:
        ValueError: There is no such axis.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"its axis {axis} is not one of {rank} dimensions")
    return axis % rank


def moved(call: Call, shape: Sequence[int], values: Int64 | None = None) -> NodeResult:
    """Return the result of an operator that moves elements of its first input.

    Args:
        call: The node.
        shape: Of the output.
        values: Its integers, if they are known.
    """
    source = call.input(0)
    every = all(each is None or each.constant for each in call.inputs)
    out = Tensor(source.kind, tuple(shape), few(values), every)
    return NodeResult((out,), MOVED * max(out.elements, 1))


def few(values: Int64 | None) -> Int64 | None:
    """Return known integers unless they are too many."""
    return values if values is not None and values.size <= VALUES_MOST else None


def short(shape: Sequence[int]) -> bool:
    """Return whether the integers of a tensor may be known, by its shape."""
    return math.prod(shape) <= VALUES_MOST


def exact(*operands: Int64 | None) -> bool:
    """Return whether integers are known and so small that a sum or product does not overflow."""
    return all(
        each is not None and bool((np.abs(each // 2) < _EXACT_MOST // 2).all()) for each in operands
    )


def broadcast(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the common shape.

    Raises:
        ValueError: There is none.
    """
    try:
        return tuple(np.broadcast_shapes(*(each.shape for each in tensors)))
    except ValueError:
        shapes = ", ".join(str(list(each.shape)) for each in tensors[:3])
        raise ValueError(f"its shapes {shapes} do not fit") from None


def is_integer(tensor: Tensor) -> bool:
    """Return whether a tensor has integers."""
    return tensor.kind in INTEGERS


def weight(*tensors: Tensor) -> int:
    """Return the operations that count for a multiplication in a product of matrices."""
    return 1 if all(each.kind == FLOAT for each in tensors) else PRODUCT
