"""The layout of the tree: folders in levels, none too large, no import cycle, short test names."""

import ast
import graphlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_scorer"
MOST_FILES = 15
LONGEST_NAME = 60
FLAT = {"stream_scorer/cli"}
"""The folder with one file per command group."""
BELOW_THE_CORE = ("errors", "nesting", "ports", "redaction")
"""The modules directly in the package that the core may import."""
PURE = {
    "ast", "bisect", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum",
    "functools", "hashlib", "hmac", "itertools", "json", "keyword", "llvmlite", "math", "numba",
    "numpy", "operator", "pyarrow", "re", "typing", "zlib", "zoneinfo", "stream_scorer.core",
    *(f"stream_scorer.{name}" for name in BELOW_THE_CORE),
}  # fmt: skip
"""The modules that the core may import: no clock, no randomness, no input, no output."""
EXCEPTIONS = {
    # The cache of compiled code.
    "core/kernels/cache.py": {"grp", "os", "pathlib", "pwd", "stat"},
    # The secret key of the hash tables; no result depends on it.
    "core/kernels/hashing.py": {"secrets"},
    # Memory for the rings.
    "core/rings/storage.py": {"mmap"},
    "nesting.py": {"tomllib"},
    "redaction.py": {"urllib"},
}


def _folders() -> list[Path]:
    return sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})


def _levels() -> list[set[str]]:
    contracts: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    return [
        {name.strip().removeprefix("stream_scorer.").replace(".", "/") for name in level.split("|")}
        for level in layers
    ]


def _modules() -> dict[str, set[str]]:
    """Return every module with the modules that it imports, including type-only imports."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        imported = set[str]()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                # An imported name is a module in the package, or is defined in the package's
                # __init__.
                inner = (f"{node.module}.{each.name}" for each in node.names)
                imported |= {each if each in names else node.module for each in inner}
            elif isinstance(node, ast.Import):
                imported |= {each.name for each in node.names}
        graph[name] = (imported & names.keys()) - {name}
    return graph


@pytest.mark.parametrize("top", ["stream_scorer", "tests", "bench"])
def test_no_folder_has_more_than_fifteen_files(top: str) -> None:
    files: dict[str, int] = {}
    for path in (ROOT / top).rglob("*.py"):
        folder = str(path.parent.relative_to(ROOT))
        files[folder] = files.get(folder, 0) + 1
    large = {folder for folder, count in files.items() if count > MOST_FILES}
    assert large <= FLAT


def test_a_folder_with_folders_has_no_files() -> None:
    for folder in _folders():
        inner = [path for path in folder.iterdir() if (path / "__init__.py").is_file()]
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert not (inner and files), folder


def test_every_folder_has_its_level_and_its_line_in_the_map() -> None:
    leaves = {
        str(folder.relative_to(PACKAGE))
        for folder in _folders()
        if not any((path / "__init__.py").is_file() for path in folder.iterdir())
    }
    levels = _levels()
    assert set().union(*levels) == leaves
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]+) \|$", text, re.MULTILINE)
    named = [name.rstrip("/") for cell, _ in rows for name in re.findall(r"`([\w/]+)`", cell)]
    assert sorted(named) == sorted(leaves)
    # From the top of the page to its end, the levels only descend.
    depth = {name: number for number, level in enumerate(levels) for name in level}
    assert [depth[name] for name in named] == sorted(depth[name] for name in named)


def test_a_package_above_the_levels_imports_nothing() -> None:
    levels = set().union(*_levels())
    above = [each for each in _folders() if str(each.relative_to(PACKAGE)) not in levels]
    assert len(above) >= 6
    for folder in [*above, PACKAGE]:
        tree = ast.parse((folder / "__init__.py").read_text())
        acting = (ast.Import, ast.ImportFrom, ast.Call)
        assert not any(isinstance(node, acting) for node in ast.walk(tree)), folder


def test_the_core_imports_only_what_is_pure() -> None:
    files = [*(PACKAGE / "core").rglob("*.py"), *(PACKAGE / f"{n}.py" for n in BELOW_THE_CORE)]
    for path in files:
        imported = set[str]()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
        # A module of the package is named by its first two parts, any other by its first.
        named = {".".join(n.split(".")[: 1 + n.startswith("stream_scorer.")]) for n in imported}
        name = str(path.relative_to(PACKAGE))
        assert named - PURE == EXCEPTIONS.get(name, set()), name


def test_no_test_has_a_name_of_more_than_sixty_letters() -> None:
    names = {
        node.name: path.relative_to(ROOT)
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and re.match("test_|Test", node.name)
    }
    assert {name: path for name, path in names.items() if len(name) > LONGEST_NAME} == {}


def test_no_public_class_name_is_defined_twice() -> None:
    defined: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


def test_amounts_are_scaled_in_one_place() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Pow)
        and ast.unparse(node.left) in {"10", "10.0"}
        and "exponent" in ast.unparse(node.right)
    }
    assert found == {"core/mapping/minor_units.py"}


def test_no_module_imports_itself_through_others() -> None:
    order = graphlib.TopologicalSorter(_modules())
    order.prepare()
