"""The nodes and constants of a judged ONNX file, as far as its work is bounded by them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

FLOAT: Final = 1
UINT8: Final = 2
INT32: Final = 6
INT64: Final = 7
STRING: Final = 8
BOOL: Final = 9
DOUBLE: Final = 11

INTEGERS: Final = frozenset({UINT8, 3, 4, 5, INT32, INT64, 12, 13})
"""The data types of integers."""

VALUES_MOST: Final = 1024
"""Maximum elements of a constant whose integers are known: shapes, axes and divisors are short."""

STRING_LONGEST: Final = 1000
"""Maximum bytes of a text in a tensor or attribute."""

WIDTHS: Final[Mapping[int, int]] = {
    FLOAT: 4, UINT8: 1, 3: 1, 4: 2, 5: 2, INT32: 4, INT64: 8, STRING: STRING_LONGEST + 32, BOOL: 1,
    10: 2, DOUBLE: 8, 12: 4, 13: 8,
}  # fmt: skip
"""Maximum bytes of an element by data type."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is known of a tensor before a run.

    Attributes:
        kind: Its data type, a number of ``onnx.proto``.
        shape: Its dimensions.
        values: int64[shape], if its integers are known; otherwise None.
        constant: Whether it is the same for all features.
    """

    kind: int
    shape: tuple[int, ...]
    values: Int64 | None = None
    constant: bool = False

    @property
    def elements(self) -> int:
        """The number of elements."""
        out = 1
        for each in self.shape:
            out *= each
        return out


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a node.

    Attributes:
        integer: Its integer, or 0.
        integers: Its list of integers.
        floats: The number of its floats.
        texts: Its list of texts.
        text: Its text.
        tensor: Its tensor.
    """

    integer: int = 0
    integers: tuple[int, ...] = ()
    floats: int = 0
    texts: tuple[str, ...] = ()
    text: str = ""
    tensor: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph, in the order of the file.

    Attributes:
        operator: The name of its operator.
        inputs: The names of what it reads; empty for an input that is left out.
        outputs: The names of what it writes; empty for an output that is left out.
        attributes: Its attributes by name.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a file.

    Attributes:
        nodes: Its nodes, each of which reads only what is known before it.
        constants: The initialisers by name.
    """

    nodes: tuple[Node, ...] = ()
    constants: Mapping[str, Tensor] = field(default_factory=dict)
