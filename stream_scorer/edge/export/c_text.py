"""The functions of ``core.arithmetic.exponential`` as C, and as Python for numpy.

They are written in a subset of Python, which is defined there. So their source is the only one:
``native/arithmetic.h`` and ``native/arithmetic.py`` are rendered from it, and a test renders them
again. Types follow from the operations, as the subset does not mix them.
"""

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.arithmetic import exponential, exponential_table

_REAL, _INTEGER = "double", "int64_t"
_OPERATORS: Final[dict[str, dict[type[ast.operator], str]]] = {
    _REAL: {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"},
    _INTEGER: {ast.Add: "+", ast.Sub: "-", ast.BitAnd: "&", ast.LShift: "<<", ast.RShift: ">>"},
}
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {ast.Eq: "==", ast.Lt: "<", ast.Gt: ">"}
_WIDTH = 92
_IN_LINE = 3

_C_HEAD: Final = """\
/* exp and the sigmoids: additions, subtractions, multiplications and divisions of IEEE 754 in a
 * fixed order. Written by `python -m tests.layout.edge_arithmetic` from stream-scorer's
 * core/arithmetic/exponential.py, which explains the method. Do not edit.
 */
#ifndef STREAM_SCORER_ARITHMETIC_H
#define STREAM_SCORER_ARITHMETIC_H

#include <stdint.h>
#include <string.h>

static inline int64_t ss_bits_of(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double ss_double_of(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double ss_single(double x) { return (double)(float)x; }
"""
_PYTHON_HEAD: Final = '''\
"""exp and the sigmoids for arrays: operations of IEEE 754, element by element, in a fixed order.

Written by ``python -m tests.layout.edge_arithmetic`` from stream-scorer's
``core/arithmetic/exponential.py``, which explains the method. Do not edit.
"""

from typing import Any

import numpy as np

select: Any = np.where


def bits_of(x: Any) -> Any:
    """Return the bits of float64 numbers as int64."""
    return np.asarray(x, np.float64).view(np.int64)


def double_of(bits: Any) -> Any:
    """Return the float64 numbers that have the given bits."""
    return np.asarray(bits, np.int64).view(np.float64)


def single(x: Any) -> Any:
    """Return float64 numbers rounded to float32, as float64."""
    return np.asarray(x, np.float32).astype(np.float64)
'''


class RenderError(ValueError):
    """The source is not written in the subset that is rendered."""


def _source() -> tuple[list[tuple[str, ast.expr]], list[ast.FunctionDef]]:
    """Return the constants, and the functions over numbers."""
    tree = ast.parse(Path(exponential.__file__).read_text())
    constants = [
        (node.targets[0].id, node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.endswith("_all")
    ]
    return constants, functions


def _tables(functions: list[ast.FunctionDef]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the name and the numbers of each table that functions use."""
    names = (
        node.value.id
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    )
    for name in dict.fromkeys(names):
        yield name, getattr(exponential_table, name)


def c_text() -> str:
    """Return the text of ``arithmetic.h``.

    Raises:
        RenderError: The source is not written in its subset.
    """
    constants, functions = _source()
    lines = [_C_HEAD]
    types = {}
    for name, value in constants:
        text, types[name] = _CExpressions({}, {}).rendered(value)
        lines.append(f"#define {_c_name(name)} {text}")
    for name, table in _tables(functions):
        lines += ["", f"static const double {_c_name(name)}[{len(table)}] = {{"]
        numbers = [number.hex() for number in table.tolist()]
        for first in range(0, len(numbers), _IN_LINE):
            lines.append(f"    {', '.join(numbers[first : first + _IN_LINE])},")
        lines.append("};")
    known: dict[str, int] = {}
    for function in functions:
        lines += ["", *_c_function(function, types, known)]
        known[function.name] = len(function.args.args)
    return "\n".join([*lines, "", "#endif", ""])


def _c_name(name: str) -> str:
    return f"SS_{name.strip('_')}"


def _c_function(
    function: ast.FunctionDef, constants: dict[str, str], known: dict[str, int]
) -> Iterator[str]:
    body = function.body[1:]
    names = dict(constants)
    arguments = [argument.arg for argument in function.args.args]
    names |= dict.fromkeys(arguments, _REAL)
    yield f"/* {ast.get_docstring(function, clean=True).splitlines()[0]} */"  # type: ignore[union-attr]
    taken = ", ".join(f"double {name}" for name in arguments)
    yield f"static inline double ss_{function.name}({taken}) {{"
    for statement in body:
        expressions = _CExpressions(names, known)
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in names:
                text, kind = expressions.rendered(value)
                names[name] = kind
                yield from _wrapped(f"const {kind} {name} = {_bare(text)};")
            case ast.Return(value=ast.expr() as value):
                text, kind = expressions.rendered(value)
                if kind != _REAL:
                    raise RenderError(f"{function.name}: returns {kind}")
                yield from _wrapped(f"return {_bare(text)};")
            case _:
                raise RenderError(f"{function.name}: {ast.unparse(statement)}")
    yield "}"


def _literal(number: object) -> tuple[str, str]:
    if isinstance(number, float):
        return number.hex(), _REAL
    return (f"INT64_C({number:#x})", _INTEGER) if type(number) is int else ("", "")


def _bare(text: str) -> str:
    """Return an expression without the parentheses around all of it."""
    return text[1:-1] if text.startswith("(") else text


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line, _WIDTH, initial_indent="    ", subsequent_indent="        ", break_long_words=False
    )


class _CExpressions:
    """Renders expressions.

    Args:
        names: The type of each known name.
        functions: The number of arguments of each function that can be called.
    """

    def __init__(self, names: dict[str, str], functions: dict[str, int]) -> None:
        self._names, self._functions = names, functions

    def rendered(self, node: ast.expr) -> tuple[str, str]:
        """Return the C text of an expression, in parentheses where it needs them, and its type."""
        found = ("", "")
        match node:
            case ast.Constant(value=number):
                found = _literal(number)
            case ast.Name(id=name) if name in self._names:
                constant = name.startswith("_")
                found = _c_name(name) if constant else name, self._names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                text, kind = self.rendered(operand)
                found = f"(-{text})", kind
            case ast.BinOp(left=left, op=op, right=right):
                (first, kind), (second, other) = self.rendered(left), self.rendered(right)
                if kind == other and type(op) in _OPERATORS[kind]:
                    found = f"({first} {_OPERATORS[kind][type(op)]} {second})", kind
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                text, kind = self.rendered(index)
                if kind == _INTEGER:
                    found = f"{_c_name(name)}[{text}]", _REAL
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                found = self._called(name, arguments)
        if not found[0]:
            raise RenderError(f"not in the subset: {ast.unparse(node)}")
        return found

    def _called(self, name: str, arguments: list[ast.expr]) -> tuple[str, str]:
        if name == "select":
            condition, chosen, other = arguments
            (first, kind), (second, same) = self.rendered(chosen), self.rendered(other)
            if kind == same == _REAL:
                return f"({self._condition(condition)} ? {first} : {second})", _REAL
        rendered = [self.rendered(argument) for argument in arguments]
        kinds = [kind for _, kind in rendered]
        text = f"ss_{name}({', '.join(each for each, _ in rendered)})"
        if name == "bits_of" and kinds == [_REAL]:
            return text, _INTEGER
        if name == "double_of" and kinds == [_INTEGER]:
            return text, _REAL
        if (name == "single" and kinds == [_REAL]) or (
            name in self._functions and kinds == [_REAL] * self._functions[name]
        ):
            return text, _REAL
        raise RenderError(f"not in the subset: a call of {name} with {', '.join(kinds)}")

    def _condition(self, node: ast.expr) -> str:
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                (first, kind), (second, other) = self.rendered(left), self.rendered(right)
                if kind == other == _REAL:
                    return f"({first} {_COMPARISONS[type(op)]} {second})"
        raise RenderError(f"not in the subset: {ast.unparse(node)}")


def python_text() -> str:
    """Return the text of ``arithmetic.py``, whose functions take arrays of float64."""
    constants, functions = _source()
    lines = [_PYTHON_HEAD, ""]
    lines += [f"{name} = {ast.unparse(value)}" for name, value in constants]
    for name, table in _tables(functions):
        lines.append(f"{name} = np.array([")
        numbers = [repr(number) for number in table.tolist()]
        for first in range(0, len(numbers), _IN_LINE):
            lines.append(f"    {', '.join(numbers[first : first + _IN_LINE])},")
        lines.append("])  # fmt: skip")
    for function in functions:
        taken = ", ".join(f"{argument.arg}: Any" for argument in function.args.args)
        lines += ["", "", f"def {function.name}({taken}) -> Any:"]
        summary = (ast.get_docstring(function) or "").splitlines()[0]
        lines.append(f'    """{summary}"""')
        for statement in function.body[1:]:
            text = ast.unparse(statement)
            same = "  # noqa: PLR0124 not NaN" if "x == x" in text else ""
            lines.append(f"    {text}{same}")
    return "\n".join([*lines, ""])
