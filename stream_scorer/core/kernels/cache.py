"""Where compiled kernels are kept on disk, and which folders are refused for it.

Compiled code that is loaded again is run, and numba keeps it in pickles, which run code too. So
whoever can write to the folder can run code as this user, and a folder that other users may write
to is never read.

The folder is, the first that is possible:

1. ``NUMBA_CACHE_DIR``. It may be read-only: what it lacks is compiled at each start. One that
   others may write to is an error, because somebody has chosen it.
2. ``__pycache__`` beside the source file.
3. ``stream-scorer/kernels`` in the user's cache folder (``XDG_CACHE_HOME`` or ``~/.cache``), made
   with mode 0700.
4. None: each process compiles for itself.
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
_KEPT = (".nbi", ".nbc")
_VARIABLE = "NUMBA_CACHE_DIR"


def attach(dispatcher: Any) -> None:
    """Keep the machine code of a compiled function until a file that it may hold code of changes.

    Args:
        dispatcher: What ``numba.njit`` returned.

    Raises:
        SettingsError: ``NUMBA_CACHE_DIR`` names a folder that other users may write to.
    """
    folder = _folder_of(Path(dispatcher.py_func.__code__.co_filename).parent)
    dispatcher._cache = (  # noqa: SLF001 there is no public way
        NullCache() if folder is None else _Kept(dispatcher.py_func)
    )


@functools.cache
def stamp(folder: Path) -> str:
    """Return a digest of all files whose code a kernel in a folder may hold.

    numba looks at a kernel's own file alone, but a kernel holds the code and the constants of what
    it calls in other files: those of its own folder, and those of this one.
    """
    digest = hashlib.sha256()
    for place in dict.fromkeys((_HERE, folder)):
        for path in sorted(place.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _folder_of(sources: Path) -> Path | None:
    """Return where the kernels of one source folder are kept; None for nowhere."""
    name = f"{sources.name}_{hashlib.sha256(os.fsencode(sources)).hexdigest()[:40]}"
    if config.CACHE_DIR:  # type: ignore[attr-defined] # numba sets it as it is imported
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
    with contextlib.suppress(RuntimeError):  # a user without a home
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        own = cache / "stream-scorer" / "kernels" / name
        if _made(own) is None and fault_of(own) is None:
            return own
    return None


def _made(folder: Path) -> str | None:
    """Make a folder for this user alone where there is none; return why it cannot be."""
    try:
        with contextlib.suppress(FileExistsError):
            for each in reversed([folder, *folder.parents]):
                if not each.exists():
                    each.mkdir(mode=0o700)
    except OSError as error:
        return str(error.strerror)
    return None


def fault_of(folder: Path) -> str | None:
    """Return why code must not be loaded from a folder; None where nothing speaks against it.

    Neither the folder, nor what is kept in it, nor a folder on the way to it may be another
    user's, or writable for others. Root is no other user. On the way, a folder with the sticky
    bit, as /tmp has it, is taken: nobody can replace in it what is ours.
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
                    # A link is not followed: what it leads to may change.
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
    """Tell whether a group is this user's own and has no other member, as many systems make one."""
    try:
        named = grp.getgrgid(group)
        own = pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return own.pw_gid == group and named.gr_name == own.pw_name and {*named.gr_mem} <= {own.pw_name}


class _Locator(_CacheLocator):
    """Tells numba the folder, and when what is kept there is stale."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._sources = Path(file).parent
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(_folder_of(self._sources))

    def get_source_stamp(self) -> str:
        return stamp(self._sources)

    def get_disambiguator(self) -> str:
        # In the files' names: an index of other sources is not even opened. Its pickle may name a
        # class that is not there any more, and numba loads it before it compares the stamps.
        return f"{self._line}-{self.get_source_stamp()[:16]}"

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_Locator":
        return cls(py_func, py_file)


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)  # type: ignore[assignment] # it is only read


class _Kept(FunctionCache):
    _impl_class = _Implementation

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep code; a folder that is full or read-only costs another compilation alone."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
