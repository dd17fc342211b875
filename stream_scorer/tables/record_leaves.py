"""Raw leaves from the records of JSON lines and Avro container files, one record at a time."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

from stream_scorer.codec.reading.json_records import JsonRefusal, leaves_of
from stream_scorer.codec.reading.mapped_paths import Found, Leaf, find, parts_of, taker_of
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.mapping.mapping_table import Path
from stream_scorer.registry.definition import Definition
from stream_scorer.tables.avro import plain_records
from stream_scorer.tables.columns import is_unicode
from stream_scorer.tables.leaf_pieces import LeafPiece, RowFault
from stream_scorer.tables.pieces import PIECE_ROWS, line_pieces


def json_leaves(
    stream: BinaryIO, paths: Sequence[Path], record_max: int, string_max: int
) -> Iterator[LeafPiece]:
    """Yield the rows of a file of JSON lines.

    Args:
        stream: From its beginning.
        paths: Paths of the mapping.
        record_max: Maximum bytes of a line.
        string_max: Maximum bytes of a string at a path.
    """
    at = 0
    for lines in line_pieces(stream):
        faults: dict[int, RowFault] = {}
        found: list[list[Leaf]] = []
        for row, line in enumerate(lines):
            try:
                found.append(_of_line(line, paths, record_max, string_max))
            except JsonRefusal as refusal:
                text = line.decode(errors="backslashreplace").rstrip("\r\n")
                faults[row] = RowFault(refusal.reason, refusal.detail, text)
                found.append([None] * len(paths))
        yield LeafPiece(at, len(lines), _by_path(paths, found), faults, stream.tell())
        at += len(lines)


def _of_line(line: bytes, paths: Sequence[Path], record_max: int, string_max: int) -> list[Leaf]:
    line = line.rstrip(b"\r\n")
    if len(line) > record_max:
        raise JsonRefusal(RejectReason.TOO_LARGE, "longer than record_bytes_max")
    if not line:
        raise JsonRefusal(RejectReason.EMPTY, "no value")
    return leaves_of(line, paths, string_max)


def find_fields(definition: Definition, paths: Sequence[Path]) -> dict[Path, Found]:
    """Return what the records of a container file have at each path."""
    return {path: find(definition, path) for path in paths}


def avro_leaves(
    stream: BinaryIO, definition: Definition, paths: Sequence[Path]
) -> Iterator[LeafPiece]:
    """Yield the rows of a container file.

    Args:
        stream: From its beginning.
        definition: What ``avro_definition`` returned.
        paths: Paths of the mapping; a field that the schema does not have is null.

    Raises:
        DamagedError: It is truncated or damaged.
    """
    places = find_fields(definition, paths)
    takers = [None if places[path].missing else taker_of(definition, path) for path in paths]
    records = plain_records(stream, definition)
    at = 0
    while rows := list(islice(records, PIECE_ROWS)):
        found = [[take(row) if take else None for take in takers] for row in rows]
        faults = _not_utf8(paths, found)
        yield LeafPiece(at, len(rows), _by_path(paths, found), faults, stream.tell())
        at += len(rows)


def _not_utf8(paths: Sequence[Path], found: list[list[Leaf]]) -> dict[int, RowFault]:
    """Replace texts that are not UTF-8 by null, and return the rows that have one."""
    faults: dict[int, RowFault] = {}
    for row, leaves in enumerate(found):
        for number, leaf in enumerate(leaves):
            if leaf is None or type(leaf[0]) is not str or is_unicode(leaf[0]):
                continue
            leaves[number] = None
            text = leaf[0].encode(errors="surrogateescape").decode(errors="backslashreplace")
            faults.setdefault(row, RowFault.not_utf8(paths[number], text))
    return faults


def _by_path(paths: Sequence[Path], found: list[list[Leaf]]) -> dict[Path, Any]:
    return {
        path: parts_of([leaves[number] for leaves in found]) for number, path in enumerate(paths)
    }
