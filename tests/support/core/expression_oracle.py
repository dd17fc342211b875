"""Expressions evaluated by Python, over numbers with the rules of docs/FEATURES.md."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType

from tests.support.core.log_oracle import log


def _checked(value: float) -> "Real":
    return Real(value if math.isfinite(value) else math.nan)


@dataclass(frozen=True, eq=False)
class Real:
    """A number of which NaN is made wherever a result is not finite."""

    value: float

    def _with(self, other: "Real", of: Callable[[float, float], float]) -> "Real":
        if math.isnan(self.value) or math.isnan(other.value):
            return Real(math.nan)
        try:
            return _checked(of(self.value, other.value))
        except (ZeroDivisionError, OverflowError):
            return Real(math.nan)

    def __add__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: a / b)

    def __neg__(self) -> "Real":
        return Real(-self.value if not math.isnan(self.value) else math.nan)

    def __pos__(self) -> "Real":
        return self

    def __lt__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: float(a < b))

    def __le__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: float(a <= b))

    def __gt__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: float(a > b))

    def __ge__(self, other: "Real") -> "Real":
        return self._with(other, lambda a, b: float(a >= b))

    def __eq__(self, other: object) -> "Real":  # type: ignore[override] # the same
        assert isinstance(other, Real)
        return self._with(other, lambda a, b: float(a == b))

    def __ne__(self, other: object) -> "Real":  # type: ignore[override] # the same
        assert isinstance(other, Real)
        return self._with(other, lambda a, b: float(a != b))

    __hash__ = None  # type: ignore[assignment] # not used


def _folded(of: Callable[[float, float], float]) -> Callable[..., Real]:
    def function(found: Real, *others: Real) -> Real:
        for other in others:
            found = found._with(other, of)
        return found

    return function


def _coalesce(*values: Real) -> Real:
    return next((value for value in values if not math.isnan(value.value)), Real(math.nan))


_FUNCTIONS = {
    "log": lambda x: _checked(log(x.value)),
    "abs": lambda x: Real(abs(x.value)),
    "min": _folded(min),
    "max": _folded(max),
    "coalesce": _coalesce,
}


def value_of(text: str, numbers: Mapping[str, float]) -> float:
    """Return an expression's value.

    Args:
        text: One of the tests' own: Python evaluates it.
        numbers: The values of its names; the same as in ``text``.
    """
    names = {name: _checked(value) for name, value in numbers.items()}
    known = {**names, **_FUNCTIONS, "Real": Real}
    found: Real = eval(_compiled(text), {"__builtins__": {}}, known)  # noqa: S307 the tests' own
    return found.value


@cache
def _compiled(text: str) -> CodeType:
    tree = ast.fix_missing_locations(_Wrapping().visit(ast.parse(text, mode="eval")))
    return compile(tree, "<expression>", "eval")


class _Wrapping(ast.NodeTransformer):
    """Replaces each number by our type: Python's own raises if a result is not finite."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        number = ast.Constant(float(node.value))  # type: ignore[arg-type] # the tests' are numbers
        return ast.Call(ast.Name("Real", ast.Load()), [number], [])
