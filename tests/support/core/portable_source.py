"""``core.arithmetic.exponential`` run by numpy, from its source, without numba.

numpy performs each operation on its own, so it shows whether the compiled functions fuse or reorder
any.
"""

import ast
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.arithmetic import exponential
from stream_scorer.core.arithmetic.exponential_table import POWERS, TAILS

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def _bits_of(x: Float64) -> Int64:
    return np.asarray(x, np.float64).view(np.int64)


def _double_of(i: Int64) -> Float64:
    return np.asarray(i, np.int64).view(np.float64)


def _single(x: Float64) -> Float64:
    return np.asarray(x).astype(np.float32).astype(np.float64)


def functions() -> dict[str, Callable[[Float64], Float64]]:
    """Return the functions by name; each takes and returns float64[n]."""
    tree = ast.parse(inspect.getsource(exponential))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    found: dict[str, Any] = {
        "POWERS": POWERS, "TAILS": TAILS, "bits_of": _bits_of, "double_of": _double_of,
        "select": np.where, "single": _single,
    }  # fmt: skip
    exec(compile(tree, "exponential", "exec"), found)  # noqa: S102 our own source
    return {name: found[name] for name in names if not name.endswith("_all")}
