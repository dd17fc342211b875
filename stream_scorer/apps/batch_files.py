"""The files that a batch job reads: found by name, glob or URL, and opened as rows of columns.

Parquet, CSV, JSON lines and Avro container files, by the ending of the name. Each is read in
pieces, from any row on, so that memory stays bounded and a resumed job reads no row twice.
"""

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import fastavro
import fsspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stream_scorer.apps.transaction_files import array_of
from stream_scorer.errors import SettingsError, UnavailableError

_ROWS = 20_000
_CSV_BLOCK_BYTES = 4 << 20
_PATTERN = re.compile(r"[*?\[]")
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input.

    Attributes:
        name: Its path or URL, without credentials: what decisions and errors call it.
        path: Its path in ``files``.
        files: The fsspec file system.
        size: Bytes.
        mark: What changes when its content does: the time of the last change, or its ETag.
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


@dataclass(slots=True)
class Piece:
    """Some consecutive rows of a file as they were read.

    Attributes:
        first: Number of the first row in its file, from 0.
        columns: Raw columns by name.
        rows: How many rows.
        faults: Rows that could not be read, by place in the piece: what is wrong and the text.
        read: Bytes of the file that are behind it, about.
    """

    first: int
    columns: dict[str, pa.Array]
    rows: int
    faults: dict[int, tuple[str, str]] = field(default_factory=dict)
    read: int = 0


def without_credentials(url: str) -> str:
    """Return a URL without user and password."""
    return _CREDENTIALS.sub("", url)


def find_files(pattern: str) -> list[InputFile]:
    """Return the files of a path, a glob or an fsspec URL, in the order of their names.

    Raises:
        SettingsError: There is none, it is a directory, the protocol is unknown, or a file's
            ending is.
        UnavailableError: The store does not answer.
    """
    told = without_credentials(pattern)
    try:
        files, path = fsspec.core.url_to_fs(pattern)
    except (ImportError, ValueError) as error:
        raise SettingsError(f"input {told}: {error}", "correct the URL") from error
    with _asking(told):
        paths = [path]
        if _PATTERN.search(path) and not files.exists(path):
            paths = sorted(one for one in files.glob(path) if not files.isdir(one))
            if not paths:
                raise SettingsError(f"input {told}: matches no file", "correct the pattern")
        elif files.isdir(path):
            raise SettingsError(f"input {told}: is a directory", "name its files: 'DIR/*.parquet'")
        return [_found(files, one) for one in paths]


def _found(files: Any, path: str) -> InputFile:
    local = _is_local(files)
    name = path if local else without_credentials(files.unstrip_protocol(path))
    about = files.info(path)
    mark = next((about[key] for key in ("mtime", "ETag", "etag", "LastModified", "updated")
                 if about.get(key) is not None), "")  # fmt: skip
    found = InputFile(name, path, files, int(about.get("size") or 0), str(mark))
    if found.ending not in _KINDS:
        raise SettingsError(f"{name}: unknown kind of file", f"name it {', '.join(_KINDS)}")
    if local and about.get("type") != "file":
        raise SettingsError(f"{name}: is no regular file", "name a file")
    return found


def _is_local(files: Any) -> bool:
    protocol = files.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def columns_of(file: InputFile, known: Sequence[str]) -> list[str] | None:
    """Return which of the known columns a file has; None where each row says it for itself.

    Raises:
        SettingsError: It cannot be read, or has one of them twice.
    """
    with reading(file), _opened(file) as stream:
        names = _KINDS[file.ending].names(stream)
    if names is None:
        return None
    for name in known:
        if names.count(name) > 1:
            raise SettingsError(f"{file.name}: column {name!r} is there twice", "rename one")
    return [name for name in known if name in names]


def read_pieces(file: InputFile, known: Sequence[str], first: int) -> Iterator[Piece]:
    """Yield a file's rows from row ``first`` on.

    Raises:
        SettingsError: It cannot be read or is damaged; names it.
        UnavailableError: The store does not answer.
    """
    present = columns_of(file, known)
    with reading(file), _opened(file) as stream:
        names = list(known) if present is None else present
        for piece in _KINDS[file.ending].pieces(stream, names, first, file.size):
            skip = first - piece.first
            if skip >= piece.rows:
                continue
            yield _behind(piece, skip) if skip > 0 else piece


def _behind(piece: Piece, skip: int) -> Piece:
    """Return what stands behind the first ``skip`` rows."""
    columns = {name: column.slice(skip) for name, column in piece.columns.items()}
    faults = {row - skip: fault for row, fault in piece.faults.items() if row >= skip}
    return Piece(piece.first + skip, columns, piece.rows - skip, faults, piece.read)


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """Turn what a reader raises into one line that names the file."""
    try:
        with _asking(file.name):
            yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, csv.Error,
            _DamagedError) as error:  # fmt: skip
        what = " ".join(str(error).split())
        raise SettingsError(
            f"{file.name}: {what}", f"make it a sound {file.ending} file"
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
        # So Arrow says that bytes do not unpack; every other error is the store's.
        if type(error) is OSError and error.errno is None:
            raise SettingsError(f"{name}: {what}", "it is damaged: write it anew") from error
        raise UnavailableError(f"{name}: {what}", "try again") from error


def _opened(file: InputFile) -> Any:
    return file.files.open(file.path, "rb")


class _DamagedError(Exception):
    """A file is not what its name says."""


def _parquet_names(stream: BinaryIO) -> list[str]:
    return list(pq.read_schema(stream).names)


def _parquet(stream: BinaryIO, names: list[str], first: int, size: int) -> Iterator[Piece]:
    # Not buffered ahead: whole column chunks would be held.
    with pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20) as file:
        groups = file.metadata.num_row_groups
        at = group = 0
        while group < groups and at + file.metadata.row_group(group).num_rows <= first:
            at += file.metadata.row_group(group).num_rows
            group += 1
        if group == groups:
            return
        total = max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(_ROWS, range(group, groups), names, use_threads=False):
            rows = batch.num_rows
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield Piece(at, columns, rows, read=size * (at + rows) // total)
            at += rows


def _csv_names(stream: BinaryIO) -> list[str]:
    # The header alone: a text reader would read ahead.
    line = stream.readline().decode("utf-8-sig")
    names: list[str] = next(csv.reader([line]), [])
    return names


def _csv(stream: BinaryIO, names: list[str], _: int, __: int) -> Iterator[Piece]:
    # Texts first: a value that does not convert is then found with its row.
    convert = pa_csv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    options = pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES)
    if not names:
        return
    at = 0
    with pa_csv.open_csv(stream, options, convert_options=convert) as reader:
        for batch in reader:
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield Piece(at, columns, batch.num_rows, read=stream.tell())
            at += batch.num_rows


def _json_lines(stream: BinaryIO, names: list[str], _: int, __: int) -> Iterator[Piece]:
    at = 0
    while lines := list(islice(stream, _ROWS)):
        faults: dict[int, tuple[str, str]] = {}
        records = [_record(line, row, faults) for row, line in enumerate(lines)]
        columns = {
            name: array_of([record.get(name) for record in records])
            for name in names
            if any(name in record for record in records)
        }
        yield Piece(at, columns, len(lines), faults, stream.tell())
        at += len(lines)


def _record(line: bytes, row: int, faults: dict[int, tuple[str, str]]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        faults[row] = (f"not JSON: {error}", line.decode(errors="replace").rstrip("\n"))
        return {}
    if not isinstance(record, dict):
        faults[row] = ("not a JSON object", line.decode(errors="replace").rstrip("\n"))
        return {}
    return record


_AVRO_ERRORS = (ValueError, EOFError, IndexError, KeyError, TypeError, StopIteration, zlib.error)


def _avro_names(stream: BinaryIO) -> list[str]:
    try:
        schema: Any = fastavro.reader(stream).writer_schema
    except _AVRO_ERRORS as error:
        raise _DamagedError(f"no Avro container: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise _DamagedError("its Avro schema is no record")
    return [entry["name"] for entry in schema["fields"]]


def _avro(stream: BinaryIO, names: list[str], _: int, __: int) -> Iterator[Piece]:
    at = 0
    records = fastavro.reader(stream)
    while True:
        try:
            rows: list[Any] = list(islice(records, _ROWS))
        except _AVRO_ERRORS as error:
            raise _DamagedError(
                f"the Avro container breaks off or is damaged behind row {at}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not rows:
            return
        columns = {name: array_of([row[name] for row in rows]) for name in names}
        yield Piece(at, columns, len(rows), read=stream.tell())
        at += len(rows)


@dataclass(frozen=True, slots=True)
class _Kind:
    names: Callable[[Any], list[str] | None]
    pieces: Callable[[Any, list[str], int, int], Iterator[Piece]]


_LINES = _Kind(lambda _: None, _json_lines)
_KINDS = {
    ".parquet": _Kind(_parquet_names, _parquet), ".csv": _Kind(_csv_names, _csv),
    ".avro": _Kind(_avro_names, _avro),
    ".jsonl": _LINES, ".ndjson": _LINES, ".json": _LINES,
}  # fmt: skip
