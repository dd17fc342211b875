"""A bounded reader of UBJ, the part of Universal Binary JSON that XGBoost writes.

A value is a byte for its type and then its content, big-endian. Lengths are always int64 with the
type ``L``. A list is ``[#L`` with its length and the values, or ``[$`` with one type for all.
"""

import struct
from typing import Any, Final, NoReturn

import numpy as np

from stream_scorer.models.importing.xgboost.number_lists import BinaryNumbers
from stream_scorer.models.importing.xgboost.refusals import refuse, shown
from stream_scorer.models.importing.xgboost.values import LEVELS_MOST, TEXT_MOST, Value, ValueCount

_NUMBERS: Final = {
    b"i": struct.Struct(">b"),
    b"U": struct.Struct(">B"),
    b"I": struct.Struct(">h"),
    b"l": struct.Struct(">i"),
    b"L": struct.Struct(">q"),
    b"d": struct.Struct(">f"),
}
_ARRAYS: Final[dict[bytes, np.dtype[Any]]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
}
_WORDS: Final = {b"T": True, b"F": False, b"Z": None}


def read_ubj(data: bytes) -> Value:
    """Return the document of a UBJ file.

    Raises:
        ModelError: It is not UBJ as XGBoost writes it, it is cut off, an object has a key twice, or
            a limit is exceeded.
    """
    reader = _Reader(data)
    document = reader.value(0)
    if reader.at != len(data):
        refuse(f"there are more bytes after the UBJ document, at byte {reader.at}")
    return document


class _Reader:
    """A position in a UBJ file.

    Attributes:
        at: The next byte.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._count = ValueCount()
        self.at = 0

    def value(self, level: int) -> Value:
        """Read the value at the position.

        Raises:
            ModelError: See :func:`read_ubj`.
        """
        self._count.add()
        if level > LEVELS_MOST:
            refuse(f"it is nested deeper than {LEVELS_MOST} levels")
        kind = self._bytes(1)
        if kind == b"{":
            return self._object(level)
        if kind == b"[":
            return self._list(level)
        if kind == b"S":
            return self._text()
        if kind in _WORDS:
            return _WORDS[kind]
        number = _NUMBERS.get(kind)
        if number is None:
            self.at -= 1
            self._refuse_byte()
        found: int | float = number.unpack(self._bytes(number.size))[0]
        return found

    def _object(self, level: int) -> Value:
        members: dict[str, Value] = {}
        while not self._take(b"}"):
            name = self._text()
            if name in members:
                refuse(f"the name {shown(name)} occurs twice in one object")
            members[name] = self.value(level + 1)
        return members

    def _list(self, level: int) -> Value:
        if self._take(b"$"):
            return self._list_of_numbers()
        values: list[Value] = []
        if self._take(b"#"):
            # Each value has at least one byte, so a length that is not true ends soon.
            for _ in range(self._length(1)):
                values.append(self.value(level + 1))  # noqa: PERF401 the reader moves
        else:
            while not self._take(b"]"):
                values.append(self.value(level + 1))
        return values

    def _list_of_numbers(self) -> Value:
        array = _ARRAYS.get(self._bytes(1))
        if array is None or not self._take(b"#"):
            self.at -= 1
            self._refuse_byte()
        count = self._length(array.itemsize)
        start = self.at
        self.at += count * array.itemsize
        # A view: memory is not doubled.
        return BinaryNumbers(np.frombuffer(memoryview(self._data)[start : self.at], array))

    def _text(self) -> str:
        size = self._length(1)
        if size > TEXT_MOST:
            refuse(f"a text is longer than {TEXT_MOST:,} bytes, at byte {self.at}")
        content = self._bytes(size)
        try:
            return content.decode()
        except ValueError:
            refuse(f"a text is not UTF-8, at byte {self.at - size}")

    def _length(self, size: int) -> int:
        """Read the number of values of ``size`` bytes; as many bytes must be left."""
        if not self._take(b"L"):
            self._refuse_byte()
        count: int = _NUMBERS[b"L"].unpack(self._bytes(8))[0]
        if not 0 <= count * size <= len(self._data) - self.at:
            refuse(f"a length of {count} at byte {self.at} does not fit the file")
        return count

    def _bytes(self, size: int) -> bytes:
        """Read so many bytes."""
        found = self._data[self.at : self.at + size]
        if len(found) != size:
            refuse("the UBJ file is cut off")
        self.at += size
        return found

    def _take(self, byte: bytes) -> bool:
        """Skip a byte, if it is next."""
        if self.at >= len(self._data):
            refuse("the UBJ file is cut off")
        if self._data[self.at : self.at + 1] != byte:
            return False
        self.at += 1
        return True

    def _refuse_byte(self) -> NoReturn:
        refuse(f"it is not XGBoost's UBJ at byte {self.at}")
