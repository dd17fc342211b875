"""A bounded reader of JSON that leaves lists of numbers as text.

A model's JSON is nearly all lists of numbers. ``json.loads`` would make an object of each number,
32 bytes for two bytes of text, before anything is checked. Here a list of numbers is a position in
the file, so the memory is that of the file and of the other values, whose number is limited.
"""

import json
import re
from typing import Final, NoReturn

from stream_scorer.models.importing.xgboost.number_lists import TextNumbers
from stream_scorer.models.importing.xgboost.refusals import refuse, shown
from stream_scorer.models.importing.xgboost.values import LEVELS_MOST, TEXT_MOST, Value, ValueCount

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_TEXT: Final = re.compile(rb'"((?:[^"\\\x00-\x1f]++|\\.)*+)"')
_LIST_OF_NUMBERS: Final = re.compile(rb"\[([0-9eE+\-., \t\r\nNaInfity]*+)\]")
_INTEGER: Final = re.compile(rb"-?[0-9]{1,18}(?![0-9.eE])")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,40}(?:\.[0-9]{1,80})?(?:[eE][+-]?[0-9]{1,4})?(?![0-9.eE])")
_WORDS: Final = {b"true": True, b"false": False, b"null": None}
_WORD: Final = re.compile(rb"true|false|null")


def read_json(data: bytes) -> Value:
    """Return the document of a JSON text.

    Raises:
        ModelError: It is not JSON, an object has a key twice, or a limit is exceeded.
    """
    reader = _Reader(data)
    document = reader.value(0)
    if reader.skip_space() != len(data):
        refuse(f"there is more text after the JSON document, at byte {reader.at}")
    return document


class _Reader:
    """A position in a JSON text.

    Attributes:
        at: The next byte.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._count = ValueCount()
        self.at = 0

    def skip_space(self) -> int:
        """Go to the next byte that is not white space, and return its position."""
        found = _SPACE.match(self._data, self.at)
        if found is not None:
            self.at = found.end()
        return self.at

    def value(self, level: int) -> Value:
        """Read the value at the position.

        Raises:
            ModelError: See :func:`read_json`.
        """
        self._count.add()
        if level > LEVELS_MOST:
            refuse(f"it is nested deeper than {LEVELS_MOST} levels")
        at = self.skip_space()
        first = self._data[at : at + 1]
        if first == b"{":
            return self._object(level)
        if first == b"[":
            return self._list(level)
        if first == b'"':
            return self._text()
        word = _WORD.match(self._data, at)
        if word is not None:
            self.at = word.end()
            return _WORDS[word[0]]
        integer = _INTEGER.match(self._data, at)
        number = integer or _NUMBER.match(self._data, at)
        if number is None:
            self._refuse_text()
        self.at = number.end()
        return int(number[0]) if integer else float(number[0])

    def _object(self, level: int) -> Value:
        members: dict[str, Value] = {}
        self.at += 1
        if self._take(b"}"):
            return members
        while True:
            self.skip_space()
            name = self._text()
            if name in members:
                refuse(f"the name {shown(name)} occurs twice in one object")
            self._expect(b":")
            members[name] = self.value(level + 1)
            if self._take(b"}"):
                return members
            self._expect(b",")

    def _list(self, level: int) -> Value:
        numbers = _LIST_OF_NUMBERS.match(self._data, self.at)
        if numbers is not None:
            self.at = numbers.end()
            return TextNumbers(self._data, numbers.start(1), numbers.end(1))
        values: list[Value] = []
        self.at += 1
        while True:
            values.append(self.value(level + 1))
            if self._take(b"]"):
                return values
            self._expect(b",")

    def _text(self) -> str:
        found = _TEXT.match(self._data, self.at)
        if found is None:
            self._refuse_text()
        if found.end() - found.start() > TEXT_MOST:
            refuse(f"a text is longer than {TEXT_MOST:,} bytes, at byte {self.at}")
        try:
            text: str = json.loads(found[0].decode())
            text.encode()
        except ValueError:  # not UTF-8, an unknown escape, or half of a surrogate pair
            self._refuse_text()
        self.at = found.end()
        return text

    def _take(self, byte: bytes) -> bool:
        """Skip white space and then the byte, if it is next."""
        at = self.skip_space()
        if self._data[at : at + 1] != byte:
            return False
        self.at += 1
        return True

    def _expect(self, byte: bytes) -> None:
        if not self._take(byte):
            self._refuse_text()

    def _refuse_text(self) -> NoReturn:
        cut = self.at >= len(self._data)
        refuse("the JSON text is cut off" if cut else f"it is not JSON at byte {self.at}")
