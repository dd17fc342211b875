"""Folders of compiled code that others may write to: numba runs the code that it finds there."""

import importlib
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.hostile_cases.case import Bomb, Place, cases, entry

_OTHER_USER: Final = 12_345


def _double(value: int) -> int:
    return 2 * value


def _kernel(folder: Path) -> Any:
    """Compile a function of this file with a cache folder, as the product does."""
    config: Any = importlib.import_module("numba.core.config")
    config.CACHE_DIR = str(folder)
    cache = sys.modules.get("stream_scorer.core.kernels.cache")
    if cache is not None:
        cache._folder_of.cache_clear()  # noqa: SLF001 another folder is named
    return entry("stream_scorer.core.kernels.compiled", "kernel")(_double)


def _planted(spoil: Callable[[Path, Path], object]) -> Callable[[Place], str]:
    """Plant a pickle where numba looks for code, then use a kernel.

    ``spoil`` gets the chosen folder and the planted file.
    """

    def run(place: Place) -> str:
        place.folder.chmod(0o755)
        above = place.folder / "above"
        chosen = above / "kernels"
        chosen.mkdir(parents=True, mode=0o700)
        file = Path(_kernel(chosen)._cache._cache_file._index_path)  # noqa: SLF001 where it looks
        file.parent.mkdir(exist_ok=True, mode=0o700)
        file.write_bytes(pickle.dumps(Bomb(place.folder / "fired")))
        file.chmod(0o600)
        spoil(chosen, file)
        error = entry("stream_scorer.errors", "SettingsError")
        try:
            found = _kernel(chosen)(21)
        except error as refused:
            return f"refused: {refused}"
        except Exception as failed:  # noqa: BLE001 numba, when the bomb has gone off
            found = type(failed).__name__
        return "RUN" if (place.folder / "fired").exists() else f"not loaded: {found}"

    return run


def _linked(_: Path, file: Path) -> None:
    elsewhere = file.with_name("elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def _owned(chosen: Path, file: Path) -> None:
    for path in (file.parent, chosen):
        os.chown(path, _OTHER_USER, _OTHER_USER)


def _stamped(_: Place) -> str:
    """Check what the walk's cached code depends on."""
    walk = entry("stream_scorer.codec.reading.decode_kernel", "walk")
    stamp = walk._cache._cache_file._source_stamp  # noqa: SLF001 numba has no public way
    return "all files" if isinstance(stamp, str) else "its own file alone"


def _shared(_: Path, file: Path) -> None:
    os.chown(file.parent, -1, _OTHER_USER)
    file.parent.chmod(0o770)


def _open_to_all(chosen: Path, _: Path) -> None:
    chosen.chmod(0o777)


CASES: Final = cases(
    "cache", 17,
    ("a folder that all may write to", "cache", "refused: ", _planted(_open_to_all)),
    ("a folder that a group may write to", "cache", "refused: ", _planted(_shared)),
    ("a kept file that all may write to", "cache", "refused: ",
     _planted(lambda _, file: file.chmod(0o666))),
    ("a kept file that is a link", "cache", "refused: ", _planted(_linked)),
    ("a folder of another user", "cache", "refused: ", _planted(_owned)),
    ("a folder above that all may write to", "cache", "refused: ",
     _planted(lambda chosen, _: chosen.parent.chmod(0o777))),
    ("code of a file that has changed since", "stamp", "all files", _stamped),
)  # fmt: skip
