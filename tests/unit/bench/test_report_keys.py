"""All report keys of commit cc8b8a8 are still written on the benches' last line.

A bench takes too long to run here, so its source is searched. Each recorded key must be a text, or
the name of a record's field, in the bench's script or in what it imports from ``bench``.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
RECORDED: dict[str, list[str]] = json.loads(
    (_ROOT / "tests" / "recorded" / "json_keys.json").read_text()
)["benches"]
_MOVED = {
    "features": "handbook_steps/features",
    "rollout_guarded": "rollout_steps/guarded",
    **{
        name: f"acceptance/{name}"
        for name in ("handover", "many_partitions", "reproduce", "rollout_live", "soak")
    },
}


def sources(path: Path, found: dict[Path, ast.Module]) -> dict[Path, ast.Module]:
    """Return a script, and what it imports from ``bench``, as syntax trees."""
    if path.is_file() and path not in found:
        found[path] = ast.parse(path.read_text())
        for node in ast.walk(found[path]):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench"):
                module = _ROOT / (node.module or "").replace(".", "/")
                for each in (module, *(module / name.name for name in node.names)):
                    sources(each.with_suffix(".py"), found)
    return found


def written(tree: ast.Module) -> Iterator[str]:
    """Yield every text of a module, and the names of its records' fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield ast.unparse(node)[2:-1]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("bench", sorted(RECORDED))
def test_no_key_of_a_report_is_gone(bench: str) -> None:
    assert RECORDED[bench]
    trees = sources(_ROOT / "bench" / f"{_MOVED.get(bench, bench)}.py", {})
    now = {name for tree in trees.values() for name in written(tree)}
    assert [key for key in RECORDED[bench] if key not in now] == []
