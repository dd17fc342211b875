"""Samples of the first rows of a CSV or Parquet file: columns, and the result of a mapping."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from stream_scorer.codec.reading.mapped_paths import Found
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.core.mapping.mapping_table import PATH_DEPTH, Path, dotted
from stream_scorer.core.normalising.leaves import Wire
from stream_scorer.explaining.sample import EXAMPLES, PATHS_MOST
from stream_scorer.tables.arrow_leaves import cells_of, find_columns
from stream_scorer.tables.columns import as_read
from stream_scorer.tables.files import InputFile, all_columns, local_file, opened, read_pieces
from stream_scorer.tables.mapped import MappedReader

_CSV: Final = ".csv"
_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?")
_FLAGS: Final = frozenset({"true", "false"})


@dataclass(frozen=True, slots=True)
class Read:
    """The result of a mapping of the rows.

    Attributes:
        transactions: How many rows became transactions.
        skipped: How many are skipped by ``where``.
        rejected: How many were rejected, by reason and detail.
    """

    transactions: int
    skipped: int
    rejected: Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TableSample:
    """The first rows of a file with columns.

    Attributes:
        file: CSV or Parquet.
        names: Its columns.
        rows: How many rows are looked at.
        values: By column some values, in types of strict JSON, for a draft.
    """

    file: InputFile
    names: tuple[str, ...]
    rows: int
    values: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """``csv`` or ``parquet``."""
        return self.file.ending.removeprefix(".")

    def places(self, paths: Sequence[Path]) -> dict[Path, Found]:
        """Return what the file has at some paths."""
        if self.file.ending == _CSV:
            return cells_of(self.names, paths)
        return find_columns(self._schema(), paths)

    def guesses(self) -> dict[Path, Found]:
        """Return what each column seems to have; a CSV file has texts, so their form decides."""
        if self.file.ending != _CSV:
            schema = self._schema()
            found = find_columns(schema, _leaves(schema))
            return {path: place for path, place in found.items() if place.wires}
        made = {}
        for name in self.names[:PATHS_MOST]:
            wire = _wire_of_texts([text for text in self.values[name] if text is not None])
            if wire is not None and (path := _path_of_name(name)):
                made[path] = Found((wire,), nullable=True)
        return made

    def examples(self, paths: Sequence[Path]) -> dict[Path, list[Any]]:
        """Return some values at each path."""
        return {path: [_inside(value, path) for value in self._values_of(path)] for path in paths}

    def read(self, plan: Plan, mapping: EventMapping) -> Read:
        """Read the rows by a mapping.

        Args:
            plan: Gives currencies and limits.
            mapping: Mapping of transactions or labels.

        Raises:
            SettingsError: None of the rows can become a transaction; names the path.
        """
        transactions = seen = 0
        rejected: Counter[tuple[str, str]] = Counter()
        for piece in MappedReader(plan, mapping).pieces(self.file):
            left = self.rows - piece.first
            seen += min(left, piece.rows)
            transactions += int((piece.good < left).sum())
            rejected.update(
                (str(fault.reason), fault.detail)
                for row, fault in piece.faults.items()
                if row < left
            )
            if left <= piece.rows:
                break
        return Read(transactions, seen - transactions - rejected.total(), rejected)

    def _schema(self) -> pa.Schema:
        with opened(self.file) as stream:
            return pq.read_schema(stream)

    def _values_of(self, path: Path) -> list[Any]:
        name = dotted(path) if self.file.ending == _CSV else path[0]
        return self.values.get(name, [])


def table_sample(path: File, count: int) -> TableSample:
    """Return the first rows of a CSV or Parquet file.

    Args:
        path: The file.
        count: Maximum number of rows.

    Raises:
        SettingsError: It cannot be read, is damaged, or has a column twice.
    """
    file = local_file(path)
    names = all_columns(file)
    values: dict[str, list[Any]] = {name: [] for name in names}
    rows = 0
    for piece in read_pieces(file, names, 0):
        taken = min(piece.rows, count - rows)
        for name, column in piece.columns.items():
            values[name] += [
                as_read(column, row) for row in range(min(taken, EXAMPLES - len(values[name])))
            ]
        rows += taken
        if rows == count:
            break
    return TableSample(file, tuple(names), rows, values)


def _path_of_name(name: str) -> Path | None:
    """Return the path that reads a CSV column; None if no path can."""
    if not name or name != name.strip():
        return None
    names = tuple(name.split("."))
    plain = all(each and each == each.strip() for each in names) and len(names) <= PATH_DEPTH
    return names if plain else (name,)


def _wire_of_texts(texts: Sequence[str]) -> Wire | None:
    """Return what the texts of a column seem to be; None without any."""
    if not texts:
        return None
    if all(_WHOLE.fullmatch(text) for text in texts):
        return Wire("long")
    if all(_DECIMAL.fullmatch(text) for text in texts):
        return Wire("double")
    return Wire("boolean" if _FLAGS.issuperset(map(str.lower, texts)) else "text")


def _inside(value: Any, path: Path) -> Any:
    """Return the value at a path of a Parquet struct; of other columns, the value itself."""
    for name in path[1:]:
        if not isinstance(value, dict):
            return value
        value = value.get(name)
    return value


def _leaves(schema: pa.Schema) -> Iterator[Path]:
    """Yield the paths to single values, in order, within limits."""
    waiting: list[tuple[Path, pa.DataType]] = [((each.name,), each.type) for each in schema]
    count = 0
    while waiting and count < PATHS_MOST:
        path, kind = waiting.pop(0)
        count += 1
        if pa.types.is_struct(kind):
            if len(path) < PATH_DEPTH:
                waiting[:0] = [((*path, each.name), each.type) for each in kind]
        elif not pa.types.is_nested(kind):
            yield path
