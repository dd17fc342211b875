"""Parquet written part by part into one file: each part's footer, moved and joined to one.

A part is a Parquet file of its own that stands further back in a larger one, so its footer's
offsets are short by where it begins. The footer is a Thrift struct in the compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md); its fields are
those of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
Everything that is not an offset or a count passes through as it is.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAGIC = b"PAR1"
_LENGTH_BYTES = 4

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_WHOLE = frozenset({4, 5, 6})  # i16, i32, i64
_SHORT_LIST = 15
_SHORT_STEP = 15

# Field numbers of parquet.thrift.
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_OFFSET, _GROUP_ORDINAL = 1, 5, 7
_COLUMN_OFFSET, _COLUMN_METADATA = 2, 3
_COLUMN_OFFSETS = (_COLUMN_OFFSET, 4, 6)  # of the chunk, its offset index, its column index
_METADATA_OFFSETS = (9, 10, 11, 14)  # of data pages, index page, dictionary page, bloom filter


@dataclass(slots=True)
class _Struct:
    """A Thrift struct: by field number its type and value."""

    fields: dict[int, tuple[int, Any]] = field(default_factory=dict)

    def value(self, number: int) -> Any:
        return self.fields[number][1]

    def put(self, number: int, value: Any) -> None:
        self.fields[number] = (self.fields[number][0], value)

    def move(self, number: int, distance: int) -> None:
        """Add to an offset; one that is absent, or 0 for none, stays so."""
        if self.fields.get(number, (0, 0))[1]:
            self.put(number, self.value(number) + distance)


def cut_footer(file: BinaryIO) -> bytes:
    """Cut a file's footer off and return it; the file ends where its data ends.

    Args:
        file: Open to read and write; ends with a Parquet footer.

    Raises:
        ValueError: It does not.
    """
    end = file.seek(-_LENGTH_BYTES - len(MAGIC), os.SEEK_END)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if file.read() != MAGIC or length > end:
        raise ValueError("no Parquet footer at the end")
    file.seek(end - length)
    footer = file.read(length)
    file.seek(end - length)
    file.truncate()
    return footer


def join_footers(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """Return what ends a file of several parts: one footer, its length and the magic bytes.

    Args:
        parts: One or more (where the part begins in the file, its own footer), in order; all of
            one schema.

    Raises:
        ValueError: A footer is damaged.
    """
    whole: _Struct | None = None
    rows = 0
    kind: int = _STRUCT
    groups: list[_Struct] = []
    for base, footer in parts:
        try:
            reader = _Reader(footer)
            part = reader.struct()
        except IndexError:
            raise ValueError("a Parquet footer is cut off") from None
        whole = whole or part
        rows += part.value(_FILE_ROWS)
        kind, found = part.value(_FILE_GROUPS)
        for group in found:
            _move(group, base, len(groups))
            groups.append(group)
    if whole is None:
        raise ValueError("no part")
    whole.put(_FILE_ROWS, rows)
    whole.put(_FILE_GROUPS, (kind, groups))
    out = bytearray()
    _write_struct(out, whole)
    return bytes(out) + len(out).to_bytes(_LENGTH_BYTES, "little") + MAGIC


def _move(group: _Struct, distance: int, ordinal: int) -> None:
    group.move(_GROUP_OFFSET, distance)
    if _GROUP_ORDINAL in group.fields:
        # A 16-bit number: it is optional, and left out where there are more row groups.
        if ordinal < 1 << 15:
            group.put(_GROUP_ORDINAL, ordinal)
        else:
            del group.fields[_GROUP_ORDINAL]
    for column in group.value(_GROUP_COLUMNS)[1]:
        for number in _COLUMN_OFFSETS:
            column.move(number, distance)
        for number in _METADATA_OFFSETS:
            column.value(_COLUMN_METADATA).move(number, distance)


class _Reader:
    """Reads values of the compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> _Struct:
        found = _Struct()
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed()
            found.fields[number] = (kind, self._value(kind))
        return found

    def _value(self, kind: int) -> Any:  # noqa: PLR0911 one line for each type
        if kind in (_TRUE, _FALSE):
            return None  # the type is the value
        if kind == _BYTE:
            return self._bytes(1)
        if kind in _WHOLE:
            return self._signed()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind in (_LIST, _SET):
            head = self._byte()
            size, inner = head >> 4, head & 15
            if size == _SHORT_LIST:
                size = self._unsigned()
            # A boolean is a byte here, unlike in a struct.
            inside = _BYTE if inner in (_TRUE, _FALSE) else inner
            return inner, [self._value(inside) for _ in range(size)]
        if kind == _STRUCT:
            return self.struct()
        raise ValueError(f"a Parquet footer holds the unknown type {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise IndexError
        return self._data[self._at - size : self._at]

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:  # noqa: PLR2004 the last byte of a varint
                return number

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)


def _write_struct(out: bytearray, struct: _Struct) -> None:
    last = 0
    for number, (kind, value) in sorted(struct.fields.items()):
        step = number - last
        last = number
        if step <= _SHORT_STEP:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_unsigned(out, number << 1)
        _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in _WHOLE:
        _write_unsigned(out, value << 1 if value >= 0 else (-value << 1) - 1)
    elif kind in (_BYTE, _DOUBLE):
        out += value
    elif kind == _BINARY:
        _write_unsigned(out, len(value))
        out += value
    elif kind in (_LIST, _SET):
        inner, values = value
        if len(values) < _SHORT_LIST:
            out.append(len(values) << 4 | inner)
        else:
            out.append(_SHORT_LIST << 4 | inner)
            _write_unsigned(out, len(values))
        for each in values:
            _write_value(out, _BYTE if inner in (_TRUE, _FALSE) else inner, each)
    elif kind == _STRUCT:
        _write_struct(out, value)


def _write_unsigned(out: bytearray, number: int) -> None:
    while number > 127:  # noqa: PLR2004 seven bits a byte
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
