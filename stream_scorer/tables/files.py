"""Files of rows: found by name, glob or URL, and opened as pieces of columns.

Parquet, CSV, JSON lines and Avro container files, by the ending of the name. Each is read in pieces
(``tables/formats.py``), from any row on, so that memory stays bounded and a resumed job gets no row
twice.
"""

import csv
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.file_url import of_the_store, protocols
from stream_scorer.tables.columns import is_unicode
from stream_scorer.tables.formats import FORMATS
from stream_scorer.tables.pieces import DamagedError, Piece

_PATTERN = re.compile(r"[*?\[]")
_READERS = frozenset({"_csv", "pyarrow", "stream_scorer", "zlib"})
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input.

    Attributes:
        name: Its path or URL, without credentials, as in decisions and errors.
        path: Its path in ``files``.
        files: The fsspec file system.
        size: Bytes.
        mark: A value that changes when its content does: the time of the last change, or its ETag.
    """

    name: str
    path: str
    files: Any = field(repr=False, compare=False)
    size: int
    mark: str

    @property
    def ending(self) -> str:
        """The name's ending, in lower case."""
        return PurePosixPath(self.path).suffix.lower()


def without_credentials(url: str) -> str:
    """Return a URL without user and password."""
    return _CREDENTIALS.sub("", url)


def find_files(pattern: str) -> list[InputFile]:
    """Return the files of a path, a glob or an fsspec URL, in the order of their names.

    Raises:
        SettingsError: There is none, it is a directory, the protocol or a file's ending is unknown,
            or a file's name is not UTF-8.
        UnavailableError: The store does not answer.
    """
    told = without_credentials(pattern)
    with _asking(told):
        # A URL of several parts (zip://...::file://...) is opened here.
        try:
            files, path = fsspec.core.url_to_fs(pattern)
        except (ImportError, ValueError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise SettingsError(f"input {told}: {error}", "correct the URL") from error
        paths = [path]
        if _PATTERN.search(path) and not files.exists(path):
            paths = sorted(one for one in files.glob(path) if not files.isdir(one))
            if not paths:
                raise SettingsError(f"input {told}: matches no file", "correct the pattern")
        elif files.isdir(path):
            raise SettingsError(f"input {told}: is a directory", "name its files: 'DIR/*.parquet'")
        return [_found(files, one) for one in paths]


def _found(files: Any, path: str) -> InputFile:
    local = "file" in protocols(files)
    name = path if local else without_credentials(files.unstrip_protocol(path))
    if not is_unicode(name):
        told = name.encode(errors="backslashreplace").decode()
        raise SettingsError(f"{told}: its name is not UTF-8, and decisions carry it", "rename it")
    about = files.info(path)
    mark = next((about[key] for key in ("mtime", "ETag", "etag", "LastModified", "updated")
                 if about.get(key) is not None), "")  # fmt: skip
    found = InputFile(name, path, files, int(about.get("size") or 0), str(mark))
    _refuse_kind(found, regular=not local or about.get("type") == "file")
    return found


def local_file(path: Path) -> InputFile:
    """Return the file of a local path, which is never a pattern or a URL.

    Raises:
        SettingsError: It does not exist, is not a regular file or has an unknown ending.
    """
    name = str(path)
    with _asking(name):
        size = path.stat().st_size
    file = InputFile(name, str(path.absolute()), fsspec.filesystem("file"), size, "")
    _refuse_kind(file, regular=path.is_file())
    return file


def _refuse_kind(file: InputFile, *, regular: bool) -> None:
    if file.ending not in FORMATS:
        raise SettingsError(f"{file.name}: unknown kind of file", f"name it {', '.join(FORMATS)}")
    if not regular:
        raise SettingsError(f"{file.name}: is not a regular file", "name a file")


def columns_of(file: InputFile, known: Sequence[str]) -> list[str] | None:
    """Return which of the known columns a file has; None if each row has its own.

    Raises:
        SettingsError: It cannot be read, or has one of them twice.
    """
    with reading(file), opened(file) as stream:
        names = FORMATS[file.ending].names(stream)
    if names is None:
        return None
    _refuse_twice(file, names, known)
    return [name for name in known if name in names]


def all_columns(file: InputFile) -> list[str]:
    """Return the columns of a Parquet, CSV or Avro file, in order.

    Raises:
        SettingsError: It cannot be read, or has a column twice.
    """
    with reading(file), opened(file) as stream:
        names = FORMATS[file.ending].names(stream) or []
    _refuse_twice(file, names, names)
    return names


def _refuse_twice(file: InputFile, names: Sequence[str], known: Sequence[str]) -> None:
    counts = Counter(names)
    for name in known:
        if counts[name] > 1:
            raise SettingsError(f"{file.name}: column {name!r} is there twice", "rename one")


def read_pieces(file: InputFile, known: Sequence[str], first: int) -> Iterator[Piece]:
    """Yield a file's rows from row ``first`` on.

    Raises:
        SettingsError: It cannot be read or is damaged; names it.
        UnavailableError: The store does not answer.
    """
    present = columns_of(file, known)
    with reading(file), opened(file) as stream:
        names = list(known) if present is None else present
        for piece in FORMATS[file.ending].pieces(stream, names, first, file.size):
            skip = first - piece.first
            if skip >= piece.rows:
                continue
            yield piece.behind(skip) if skip > 0 else piece


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """Convert a reader's exceptions to errors of one line that name the file."""
    try:
        with _asking(file.name):
            yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, csv.Error,
            DamagedError) as error:  # fmt: skip
        what = " ".join(str(error).split())
        raise SettingsError(
            f"{file.name}: {what}", f"make it a valid {file.ending} file"
        ) from error


@contextmanager
def _asking(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SettingsError(f"{name}: no such file", "correct the name") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise SettingsError(f"{name}: {error.strerror or error}", "name a readable file") from error
    except OSError as error:
        what = " ".join((error.strerror or str(error)).split())
        # Arrow raises this if bytes cannot be decompressed; every other one is the store's.
        if type(error) is OSError and error.errno is None:
            raise SettingsError(f"{name}: {what}", "it is damaged: write it again") from error
        raise UnavailableError(f"{name}: {what}", "try again") from error
    except Exception as error:
        # A cloud's library has its own error classes; those of readers are about the file.
        library = type(error).__module__.partition(".")[0]
        if isinstance(error, ValueError) or library in _READERS or not of_the_store(error):
            raise
        what = " ".join(str(error).split())
        raise UnavailableError(f"{name}: {what}", "try again") from error


def opened(file: InputFile) -> Any:
    """Open a file; for a ``with`` inside :func:`reading`."""
    return file.files.open(file.path, "rb")
