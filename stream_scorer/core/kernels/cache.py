"""Where compiled kernels are stored on disk, and which folders are refused.

Loaded machine code is executed, and numba stores it in pickles, which can execute code, too. So
anyone who can write to the folder can run code as this user. A folder that other users may write to
is never read.

The folder is the first possible one of these:

1. ``NUMBA_CACHE_DIR``. It may be read-only: kernels that are missing there are compiled at each
   start. If others may write to it, that is an error, because it was chosen explicitly.
2. ``__pycache__`` next to the source file.
3. ``stream-scorer/kernels`` in the user's cache folder (``XDG_CACHE_HOME`` or ``~/.cache``),
   created with mode 0700.
4. None: each process compiles the kernels again.
"""

import contextlib
import functools
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _CacheLocator

from stream_scorer.errors import SettingsError

_HERE = Path(__file__).parent
_CALLED = (_HERE, _HERE.parent / "arithmetic")
"""Folders whose kernels those of other folders may call."""
_KEPT = (".nbi", ".nbc")
_VARIABLE = "NUMBA_CACHE_DIR"


def attach(dispatcher: Any) -> None:
    """Store the machine code of a compiled function until a source file that it includes changes.

    Args:
        dispatcher: The result of ``numba.njit``.

    Raises:
        SettingsError: ``NUMBA_CACHE_DIR`` is a folder that other users may write to, or it cannot
            be created.
    """
    folder = _folder_of(Path(dispatcher.py_func.__code__.co_filename).parent)
    dispatcher._cache = (  # noqa: SLF001 there is no public way
        NullCache() if folder is None else _Kept(dispatcher.py_func)
    )


@functools.cache
def stamp(folder: Path) -> str:
    """Return a digest of all files whose code a kernel in a folder may include.

    numba only checks a kernel's own file. But a kernel includes the code and the constants of the
    functions that it calls in other files: those of the kernel's folder, of this one and of
    ``core.arithmetic``.
    """
    digest = hashlib.sha256()
    for place in dict.fromkeys((*_CALLED, folder)):
        for path in sorted(place.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _folder_of(sources: Path) -> Path | None:
    """Return the folder for the kernels of a source folder; None for no folder."""
    name = f"{sources.name}_{hashlib.sha256(os.fsencode(sources)).hexdigest()[:40]}"
    if config.CACHE_DIR:  # type: ignore[attr-defined] # numba sets it when it is imported
        chosen = Path(config.CACHE_DIR)  # type: ignore[attr-defined] # the same
        folder = chosen / name
        unmade = _made(folder)
        if unmade is not None and chosen.is_dir() and fault_of(chosen) is None:
            # A read-only folder that has no code of these sources.
            return None
        fault = unmade or fault_of(folder)
        if fault is not None:
            raise SettingsError(
                f"variable {_VARIABLE}: {chosen}: {fault}",
                "compiled code is loaded from there: name a folder that only this user or root "
                "may write to",
            )
        return folder
    beside = sources / "__pycache__"
    if _made(beside) is None and fault_of(beside) is None and os.access(beside, os.W_OK):
        return beside
    with contextlib.suppress(RuntimeError):  # this user has no home folder
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        own = cache / "stream-scorer" / "kernels" / name
        if _made(own) is None and fault_of(own) is None:
            return own
    return None


def _made(folder: Path) -> str | None:
    """Create a folder with mode 0700 if there is none; return why that is impossible, or None."""
    try:
        with contextlib.suppress(FileExistsError):
            for each in reversed([folder, *folder.parents]):
                if not each.exists():
                    each.mkdir(mode=0o700)
    except OSError as error:
        return str(error.strerror)
    return None


def fault_of(folder: Path) -> str | None:
    """Return why code must not be loaded from a folder; None if it may be.

    The folder, the kernels in it and the folders above it must belong to this user or root, and
    must not be writable for others. A folder above it that has the sticky bit, such as /tmp, is
    accepted: other users cannot replace our entries there.
    """
    try:
        real = folder.resolve(strict=True)
        for place in (real, *real.parents):
            fault = _fault_of_status(place.stat(), on_the_way=place != real)
            if fault is not None:
                return f"{place} {fault}"
        with os.scandir(real) as entries:
            for entry in entries:
                if entry.name.endswith(_KEPT):
                    # A link is refused: its target may change.
                    fault = _fault_of_status(entry.stat(follow_symlinks=False), on_the_way=False)
                    if fault is not None:
                        return f"{entry.path} {fault}"
    except OSError as error:
        return str(error.strerror)
    return None


def _fault_of_status(status: os.stat_result, *, on_the_way: bool) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if status.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if on_the_way and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return "is writable for every user"
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid):
        return "is writable for a group"
    return None


@functools.cache
def _is_private(group: int) -> bool:
    """Return whether a group is this user's own without other members, as on many systems."""
    try:
        named = grp.getgrgid(group)
        own = pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return own.pw_gid == group and named.gr_name == own.pw_name and {*named.gr_mem} <= {own.pw_name}


class _Locator(_CacheLocator):
    """Gives numba the folder, and a stamp that changes when the stored code is stale."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._sources = Path(file).parent
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(_folder_of(self._sources))

    def get_source_stamp(self) -> str:
        return stamp(self._sources)

    def get_disambiguator(self) -> str:
        # A part of the file names, so that an index of other sources is not opened. Its pickle may
        # name a class that no longer exists, and numba loads it before it compares the stamps.
        return f"{self._line}-{self.get_source_stamp()[:16]}"

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_Locator":
        return cls(py_func, py_file)


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)  # type: ignore[assignment] # numba only reads it


class _Kept(FunctionCache):
    _impl_class = _Implementation

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store code; a full or read-only folder only costs another compilation."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
