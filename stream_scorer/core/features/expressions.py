"""Expressions of a feature list: from text to a tree of known operations, and to its program.

The text is an expression in Python's grammar. It is parsed by Python's parser, but never executed.
Each node must be one of a few known ones; otherwise the expression is refused. A tree's canonical
form has no blanks, parentheses or names of features, so that equal computations are equal.
"""

import ast
import keyword
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.features.expression_kernels import (
    ABSOLUTE,
    ADD,
    COALESCE,
    CONSTANT,
    DIVIDE,
    EQUAL,
    FEATURE,
    FIELD,
    GREATER,
    GREATER_EQUAL,
    LEAST,
    LESS,
    LESS_EQUAL,
    LOGARITHM,
    MOST,
    MULTIPLY,
    NEGATE,
    STEP_WIDTH,
    SUBTRACT,
    UNEQUAL,
)

MOST_NODES = 64
LONGEST = 1_000
"""Maximum number of characters of an expression."""

_TOKENS = re.compile(
    r"(?: +|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.])"
    r"|[A-Za-z_][A-Za-z0-9_]*|[<>=!]=|[-+*/(),<>])*"
)
_WORD = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip
_COMPARED: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_OF_ONE = ("log", "abs")
_OF_SEVERAL = ("min", "max", "coalesce")
FUNCTIONS = (*_OF_ONE, *_OF_SEVERAL)
_CODES = {
    "+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE, "min": LEAST, "max": MOST,
    "coalesce": COALESCE, "<": LESS, "<=": LESS_EQUAL, ">": GREATER, ">=": GREATER_EQUAL,
    "==": EQUAL, "!=": UNEQUAL, "negate": NEGATE, "abs": ABSOLUTE, "log": LOGARITHM,
}  # fmt: skip
_KNOWN = f"+ - * /, comparisons, {', '.join(FUNCTIONS)}"


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """A field of the event or an earlier feature."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation.

    Attributes:
        name: ``+ - * /``, a comparison, ``negate``, or one of :data:`FUNCTIONS`.
        operands: One or more.
    """

    name: str
    operands: tuple["Node", ...]


Node = Number | Name | Operation


@dataclass(frozen=True, slots=True)
class Program:
    """A tree as a program for ``expression_kernels``.

    Attributes:
        steps: int64[p, STEP_WIDTH].
        constants: float64[k].
        depth: Number of rows of the stack that it needs.
    """

    steps: NDArray[np.int64]
    constants: NDArray[np.float64]
    depth: int


def parse(text: object) -> Node:
    """Return the tree of an expression.

    Raises:
        ValueError: It is not an expression of known nodes, or too large; the message is one line.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"value {_short(text)} is not an expression; write it as a text")
    if len(text) > LONGEST:
        raise ValueError(f"value has {len(text)} characters; at most {LONGEST}")
    tokens = _TOKENS.match(text)
    end = tokens.end() if tokens else 0
    if end < len(text):
        raise ValueError(
            f"value: {text[end : end + 10]!r} at character {end + 1} cannot be read; known are "
            f"numbers, names, parentheses, {_KNOWN}"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        if word := next(filter(keyword.iskeyword, _WORD.findall(text)), None):
            told = f"{word!r} is a keyword of Python, so a field or feature needs another name"
        raise ValueError(f"value {_short(text)} is not an expression: {told}") from None
    return _ExpressionReader().read(tree.body)


class _ExpressionReader:
    """Counts the nodes while it descends, so that it never descends too far."""

    def __init__(self) -> None:
        self._nodes = 0

    def read(self, node: ast.expr) -> Node:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise ValueError(f"value has more than {MOST_NODES} nodes")
        if isinstance(node, ast.Constant):
            return Number(_number(node.value))
        if isinstance(node, ast.Name):
            return Name(node.id)
        if isinstance(node, ast.UnaryOp):
            return self._signed(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        return self._between_two(node)

    def _signed(self, node: ast.UnaryOp) -> Node:
        if not isinstance(node.op, ast.UAdd | ast.USub):
            raise _unknown(node.op)
        operand = self.read(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(operand, Number):
            return Number(-operand.value)
        return Operation("negate", (operand,))

    def _between_two(self, node: ast.expr) -> Node:
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return Operation(_BINARY[type(node.op)], (self.read(node.left), self.read(node.right)))
        if not isinstance(node, ast.Compare):
            raise _unknown(node)
        if len(node.ops) > 1:
            raise ValueError("value: a comparison has two sides; write (a < b) * (b < c)")
        if type(node.ops[0]) not in _COMPARED:
            raise _unknown(node.ops[0])
        sides = (self.read(node.left), self.read(node.comparators[0]))
        return Operation(_COMPARED[type(node.ops[0])], sides)

    def _call(self, node: ast.Call) -> Node:
        name = node.func.id if isinstance(node.func, ast.Name) else type(node.func).__name__
        if not isinstance(node.func, ast.Name) or name not in FUNCTIONS:
            raise ValueError(f"value: {name}() is not known; known: {', '.join(FUNCTIONS)}")
        if node.keywords:
            raise ValueError(f"value: {name}() takes no named arguments")
        if name in _OF_ONE and len(node.args) != 1:
            raise ValueError(f"value: {name}() takes one argument, not {len(node.args)}")
        if name in _OF_SEVERAL and len(node.args) < 2:  # noqa: PLR2004 with one argument there is nothing to do
            raise ValueError(f"value: {name}() takes two or more arguments, not {len(node.args)}")
        return Operation(name, tuple(self.read(argument) for argument in node.args))


def _unknown(node: ast.AST) -> ValueError:
    if isinstance(node, ast.BinOp):
        node = node.op
    return ValueError(f"value: {type(node).__name__} is not known; known: {_KNOWN}")


def _number(value: object) -> float:
    if type(value) not in (int, float) or not isinstance(value, int | float):
        raise ValueError(f"value: {_short(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("value: a number is too large for 64 bits")
    return number


def _short(value: object) -> str:
    told = repr(value)
    return told if len(told) <= 40 else f"{told[:37]}..."  # noqa: PLR2004 so that it fits a line


def names(node: Node) -> Iterator[str]:
    """Yield the names in a tree, from left to right."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Operation):
        for operand in node.operands:
            yield from names(operand)


def canonical(node: Node, of_name: Callable[[str], object]) -> object:
    """Return a tree's canonical form, plain data.

    Args:
        node: The tree.
        of_name: Returns what a name refers to, as plain data.
    """
    if isinstance(node, Number):
        return {"number": repr(node.value)}
    if isinstance(node, Name):
        return of_name(node.name)
    return [node.name, *(canonical(operand, of_name) for operand in node.operands)]


def program(node: Node, fields: Sequence[str], features: Mapping[str, int]) -> Program:
    """Return the program that computes a tree.

    Args:
        node: The tree.
        fields: Names of the fields, in the order of their columns.
        features: Columns of the features by name. A name that is in both refers to the feature.
    """
    steps: list[tuple[int, int]] = []
    constants: list[float] = []

    def visit(node: Node) -> int:
        """Add the steps of a node; return the number of rows of the stack that it needs."""
        if isinstance(node, Number):
            steps.append((CONSTANT, len(constants)))
            constants.append(node.value)
            return 1
        if isinstance(node, Name):
            known = node.name in features
            step = (FEATURE, features[node.name]) if known else (FIELD, fields.index(node.name))
            steps.append(step)
            return 1
        depth = visit(node.operands[0])
        code = _CODES[node.name]
        if len(node.operands) == 1:
            steps.append((code, 0))
        for operand in node.operands[1:]:
            depth = max(depth, 1 + visit(operand))
            steps.append((code, 0))
        return depth

    depth = visit(node)
    return Program(
        np.array(steps, np.int64).reshape(-1, STEP_WIDTH), np.array(constants, np.float64), depth
    )
