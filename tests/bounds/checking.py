# mypy: disable-error-code="return-value,attr-defined,arg-type,no-untyped-call,assignment"
# numba infers the types of compiled functions, and is untyped itself.
"""The decorators of ``core.kernels.compiled``, for code in which every access is checked.

They compile the same source. Each index of a subscript is checked against its array. A negative
index is a finding, although numba would count it from the end. Loads, stores and copies of
``core.kernels.memory`` must stay inside their windows (see ``windows``).
"""

import ast
import functools
import hashlib
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.extending import overload

from tests.bounds import windows

COMPILED = "stream_scorer.core.kernels.compiled"
MEMORY = "stream_scorer.core.kernels.memory"
FOLDER = "STREAM_SCORER_BOUNDS_CACHE"
_HERE = Path(__file__).parent
_SOURCES = frozenset({"stream_scorer", "tests"})
_IMPORT = re.compile(r"^\s*(?:from|import) (stream_scorer[\w.]*)", re.MULTILINE)
_LINE_BYTES = 64
_LINES = frozenset({"_aged"})
"""Functions that load a line of cells from their first argument, at the index in their second."""


# -- the checks ---------------------------------------------------------------------------------


def checked_index(array: Any, axis: Any, index: Any) -> Any:
    """Return the index; raise IndexError if it is outside of the array's axis."""
    raise NotImplementedError


@overload(checked_index)
def _checked_index(array: Any, axis: Any, index: Any) -> Any:
    if not isinstance(array, types.Array) or not isinstance(index, types.Integer):

        def unchanged(array: Any, axis: Any, index: Any) -> Any:
            return index

        return unchanged
    if index.signed:

        def checked(array: Any, axis: Any, index: Any) -> Any:
            if index < 0 or index >= array.shape[axis]:
                windows.report(windows.INDEX)
                raise IndexError("outside of its array")
            return index
    else:

        def checked(array: Any, axis: Any, index: Any) -> Any:
            if np.uint64(index) >= np.uint64(array.shape[axis]):
                windows.report(windows.INDEX)
                raise IndexError("outside of its array")
            return index

    return checked


def checked_line(array: Any, index: Any) -> Any:
    """Return the index; raise IndexError if a line of cells does not fit into the array there."""
    raise NotImplementedError


@overload(checked_line)
def _checked_line(array: Any, index: Any) -> Any:
    cells = _LINE_BYTES // (array.dtype.bitwidth // 8)

    def checked(array: Any, index: Any) -> Any:
        if index < 0 or index + cells > len(array):
            windows.report(windows.LINE)
            raise IndexError("a line outside of its array")
        return index

    return checked


class _Rewriting(ast.NodeTransformer):
    """Adds the checks to a kernel's body."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.slice, ast.Tuple):
            node.slice.elts = [
                self._checked(node.value, axis, each) for axis, each in enumerate(node.slice.elts)
            ]
        else:
            node.slice = self._checked(node.value, 0, node.slice)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _LINES:
            node.args[1] = _call("checked_line", node.args[0], node.args[1])
        return node

    def _checked(self, array: ast.expr, axis: int, index: ast.expr) -> ast.expr:
        if isinstance(index, ast.Slice):
            return index
        read = _Reading().visit(ast.parse(ast.unparse(array), mode="eval").body)
        return _call("checked_index", read, ast.Constant(axis), index)


class _Reading(ast.NodeTransformer):
    """Turns an assigned expression into one that is read."""

    def visit(self, node: ast.AST) -> ast.AST:
        if hasattr(node, "ctx"):
            node.ctx = ast.Load()
        return super().visit(node)


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(f"__{name}", ast.Load()), list(arguments), [])


def rewritten(function: Any) -> Any:
    """Return a kernel's function with the checks added."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    (definition,) = tree.body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    definition.body = [_Rewriting().visit(each) for each in definition.body]
    ast.increment_lineno(ast.fix_missing_locations(tree), first - 1)
    names: dict[str, Any] = {}
    everything = function.__globals__
    everything["__checked_index"] = checked_index
    everything["__checked_line"] = checked_line
    code = compile(tree, function.__code__.co_filename, "exec")
    exec(code, everything, names)  # noqa: S102 our own kernels
    made = names[function.__name__]
    made.__qualname__ = function.__qualname__
    return made


# -- where the machine code is kept ---------------------------------------------------------------


def _root(path: Path) -> Path:
    """Return the folder that has the package or the tests in which a source file is."""
    return next(each for each in path.parents if each.name in _SOURCES).parent


@functools.cache
def _digest(path: Path) -> tuple[str, frozenset[Path]]:
    """Return a source file's digest, and the files of the package that it imports."""
    text = path.read_text(encoding="utf-8")
    root = _root(path)
    named = set()
    for module in _IMPORT.findall(text):
        file = root.joinpath(*module.split(".")).with_suffix(".py")
        if file.is_file():
            named.add(file)
    return hashlib.sha256(text.encode()).hexdigest(), frozenset(named)


@functools.cache
def _stamp(path: Path) -> str:
    """Return a digest of a source file, all that it imports, and this folder's own code."""
    seen: set[Path] = set()
    left = {path}
    while left:
        each = left.pop()
        seen.add(each)
        left |= _digest(each)[1] - seen
    ours = [hashlib.sha256(each.read_bytes()).hexdigest() for each in sorted(_HERE.glob("*ing.py"))]
    ours.append(hashlib.sha256((_HERE / "windows.py").read_bytes()).hexdigest())
    return hashlib.sha256(
        "".join([*ours, *sorted(_digest(s)[0] for s in seen)]).encode()
    ).hexdigest()


class _Locator(_CacheLocator):
    """One cache folder for each source folder, wherever the package and its tests are."""

    def __init__(self, function: Any, file: str) -> None:
        self._path = Path(file)
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        inside = self._path.parent.relative_to(_root(self._path))
        return str(Path(os.environ[FOLDER]) / "-".join(inside.parts))

    def get_source_stamp(self) -> str:
        return _stamp(self._path)

    def get_disambiguator(self) -> str:
        # A copy of the package without a check must not replace the package's own code.
        return f"{self._line}-{_stamp(self._path)[:16]}"

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        self = cls(py_func, py_file)
        self.ensure_cache_path()
        return self


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Kept(FunctionCache):
    _impl_class = _Implementation


# -- the modules' replacements --------------------------------------------------------------------


def _compile(function: Any, **options: Any) -> Any:
    compiled = numba.njit(nogil=True, **options)(rewritten(function))
    compiled._cache = _Kept(compiled.py_func)
    return compiled


def _decorators() -> dict[str, Callable[[Any], Any]]:
    @numba.njit(nogil=True)
    def prefetch(array: Any, index: Any) -> None:
        """Fetch nothing: a prefetch touches no memory that a check could see."""

    def numeric(function: Any) -> Any:
        return _compile(function, error_model="numpy")

    plain: Any = _compile
    return {
        "kernel": plain, "inlined": plain, "allocating": plain, "brief": plain,
        "numeric": numeric, "prefetch": prefetch,
    }  # fmt: skip


def _memory(path: Path) -> ModuleType:
    """Return the module ``memory``, with its loads, stores and copy replaced by checked ones."""
    module = ModuleType(MEMORY)
    module.__file__ = str(path)
    sys.modules[MEMORY] = module
    names = vars(module)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    last = max(at for at, each in enumerate(body) if isinstance(each, ast.AnnAssign)) + 1
    for part in (body[:last], body[last:]):
        exec(compile(ast.Module(part, []), str(path), "exec"), names)  # noqa: S102 our own source
        if part is body[:last] or "copy" not in names:
            names |= windows.wrap(names)
    names["copy"] = _checked_copy(names["copy"], names["SLACK"])
    return module


def _checked_copy(copy: Any, slack: int) -> Any:
    @numba.njit(nogil=True, error_model="numpy")
    def checked(target: int, source: int, size: int, limit: int) -> Any:
        windows.check_copy(target, source, size, slack)
        return copy(target, source, size, limit)

    return checked


def install() -> None:
    """Replace the modules by the checked ones; no kernel of the package may be imported before.

    Raises:
        RuntimeError: Kernels were imported already.
    """
    if COMPILED in sys.modules:
        raise RuntimeError("kernels are compiled already, without checks")
    import stream_scorer.core.kernels as room  # noqa: PLC0415 the package alone

    module = ModuleType(COMPILED)
    vars(module).update(_decorators())
    sys.modules[COMPILED] = room.compiled = module
    room.memory = _memory(Path(room.__file__).with_name("memory.py"))
