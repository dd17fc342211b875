"""Compiled kernels are never loaded from a folder that another user can write to."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.core.kernels import cache
from stream_scorer.errors import SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "kernels"
    made.mkdir(mode=0o755)
    (made / "walk.nbi").write_bytes(b"")
    (made / "walk.nbi").chmod(0o644)
    return made


def test_a_folder_of_this_user_alone_is_taken(folder: Path) -> None:
    assert cache.fault_of(folder) is None


def test_a_folder_that_others_may_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    assert cache.fault_of(folder) == f"{folder} is writable for every user"
    folder.chmod(0o1777)
    assert cache.fault_of(folder) == f"{folder} is writable for every user"


def test_a_folder_that_a_group_may_write_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o775)
    monkeypatch.setattr(cache, "_is_private", lambda _: False)
    assert cache.fault_of(folder) == f"{folder} is writable for a group"
    monkeypatch.setattr(cache, "_is_private", lambda _: True)
    assert cache.fault_of(folder) is None


def test_a_folder_or_file_of_another_user_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner:
        assert cache.fault_of(folder) == f"{folder} belongs to another user"
    else:
        assert cache.fault_of(folder) is None, "what root wrote is as good as ours"


def test_a_parent_folder_writable_for_others_must_be_sticky(
    folder: Path,
) -> None:
    folder.parent.chmod(0o777)
    assert cache.fault_of(folder) == f"{folder.parent} is writable for every user"
    folder.parent.chmod(0o1777)
    assert cache.fault_of(folder) is None


def test_a_file_writable_for_others_or_a_link_is_refused(folder: Path) -> None:
    file = folder / "walk.nbi"
    file.chmod(0o666)
    assert cache.fault_of(folder) == f"{file} is writable for every user"
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert cache.fault_of(folder) == f"{file} is a link"


def test_the_stamp_covers_every_file_that_a_kernel_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, core, numbers = tmp_path / "codec", tmp_path / "kernels", tmp_path / "arithmetic"
    files = [own / "walk.py", own / "operations.py", core / "memory.py", numbers / "exp.py"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("A = 1\n")
    monkeypatch.setattr(cache, "_CALLED", (core, numbers))
    stamps = {cache.stamp.__wrapped__(own)}
    for changed in files:
        changed.write_text("A = 2\n")
        stamps.add(cache.stamp.__wrapped__(own))
    assert len(stamps) == 5


def test_a_kernel_calls_no_kernel_that_the_stamp_does_not_cover() -> None:
    """A kernel of another folder is called from Python, as ``fixed_logarithms`` is."""
    package = Path(cache.__file__).parents[2]
    imported: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        nodes = ast.walk(ast.parse(path.read_text()))
        imported[name] = {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
    kernels = "stream_scorer.core.kernels"
    called = (kernels, "stream_scorer.core.arithmetic")
    compiled = {name for name, modules in imported.items() if f"{kernels}.compiled" in modules}
    assert {f"{kernels}.aggregates", "stream_scorer.core.arithmetic.logarithm_kernels"} <= compiled
    uncovered = {
        (name, other)
        for name in compiled
        for other in imported[name] & compiled
        if other.rpartition(".")[0] not in (name.rpartition(".")[0], *called)
    }
    assert uncovered == set()


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", command],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_the_command_line_names_the_refused_folder_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = run(
        "import sys; sys.argv = ['stream-scorer', 'batch', '--help']\n"
        "from stream_scorer.cli import main; main()", tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"stream-scorer: variable NUMBA_CACHE_DIR: {tmp_path}: ")
    assert "writable for every user" in done.stderr
    assert done.stderr.count("\n") == 1


_FRAMES = (
    "import numpy as np\n"
    "from stream_scorer.codec.reading.framing import frames\n"
    "n = np.zeros(1, np.int64)\n"
    "frames(np.zeros(9, np.uint8), np.array([0, 9]), 99, np.zeros(1, np.uint8), n)\n"
    "print(sum(frames.stats.cache_hits.values()))"
)


def test_code_is_kept_and_found_again_where_it_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first, second = run(_FRAMES, folder), run(_FRAMES, folder)
    assert (first.stdout, second.stdout) == ("0\n", "1\n"), first.stderr + second.stderr
    (inside,) = folder.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    before = sorted(inside.iterdir())
    inside.chmod(0o555)
    try:
        assert run(_FRAMES, folder).stdout == "1\n"
    finally:
        inside.chmod(0o755)
    assert sorted(inside.iterdir()) == before


_KERNEL = """
from typing import NamedTuple
import numpy as np
from stream_scorer.core.kernels.compiled import allocating

class {name}(NamedTuple):
    values: np.ndarray

@allocating
def total(columns):
    return columns.values.sum()
"""


def test_cached_code_of_a_removed_class_is_ignored(tmp_path: Path) -> None:
    """A new release finds the old one's code, whose pickle names classes that no longer exist."""
    sources, kept = tmp_path / "sources", tmp_path / "kept"
    sources.mkdir()
    for name in ("Before", "After"):
        (sources / "totals.py").write_text(_KERNEL.format(name=name))
        done = run(
            f"import sys; sys.path.insert(0, {str(sources)!r}); import numpy as np, totals\n"
            f"print(totals.total(totals.{name}(np.arange(4))))", kept,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_a_read_only_folder_missing_some_code_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "shipped"
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(chosen))
    monkeypatch.setattr(cache, "_made", lambda _: "Read-only file system")
    with pytest.raises(SettingsError, match="Read-only file system"):
        cache._folder_of.__wrapped__(Path("/sources"))
    chosen.mkdir(mode=0o755)
    assert cache._folder_of.__wrapped__(Path("/sources")) is None
    chosen.chmod(0o777)
    with pytest.raises(SettingsError, match="Read-only file system"):
        cache._folder_of.__wrapped__(Path("/sources"))
