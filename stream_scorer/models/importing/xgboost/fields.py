"""Members of a model's objects, each checked as it is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.importing.xgboost.number_lists import (
    BinaryNumbers,
    Float32,
    NumberList,
    TextNumbers,
)
from stream_scorer.models.importing.xgboost.refusals import refuse, shown
from stream_scorer.models.importing.xgboost.values import Value

_COUNT: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Section:
    """An object of a model file.

    Attributes:
        members: Its members by name.
        where: Its place in the file, for errors: names joined by dots.
    """

    members: Mapping[str, Value]
    where: str

    def place(self, name: str) -> str:
        """Return the place of a member."""
        return f"{self.where}.{name}" if self.where else name

    def has(self, name: str) -> bool:
        """Return whether there is such a member."""
        return name in self.members

    def value(self, name: str) -> Value:
        """Return a member.

        Raises:
            ModelError: There is none of this name.
        """
        if name not in self.members:
            refuse(f"{self.place(name)} is missing")
        return self.members[name]

    def section(self, name: str) -> "Section":
        """Return a member that is an object.

        Raises:
            ModelError: It is missing or not an object.
        """
        return section_of(self.value(name), self.place(name))

    def values(self, name: str) -> Sequence[Value]:
        """Return a member that is a list of other values than numbers.

        Raises:
            ModelError: It is missing or not such a list.
        """
        found = self.value(name)
        if isinstance(found, TextNumbers | BinaryNumbers) and len(found) == 0:
            return []
        if not isinstance(found, list):
            refuse(f"{self.place(name)} is not a list of objects or texts")
        return found

    def text(self, name: str) -> str:
        """Return a member that is a text.

        Raises:
            ModelError: It is missing or not a text.
        """
        found = self.value(name)
        if not isinstance(found, str):
            refuse(f"{self.place(name)} is not a text")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a member that is a list of texts.

        Raises:
            ModelError: It is missing or not a list of texts.
        """
        found = self.values(name)
        texts = tuple(each for each in found if isinstance(each, str))
        if len(texts) != len(found):
            refuse(f"{self.place(name)} is not a list of texts")
        return texts

    def count(self, name: str, least: int, most: int) -> int:
        """Return a member that is a whole number written as text, such as ``"13"``.

        Raises:
            ModelError: It is missing, not such a number, or out of range.
        """
        text = self.text(name)
        if _COUNT.fullmatch(text) is None or not least <= int(text) <= most:
            refuse(f"{self.place(name)} is {shown(text)}, not a count from {least:,} to {most:,}")
        return int(text)

    def length(self, name: str) -> int:
        """Return how many numbers a member that is a list of numbers has, without reading them.

        Raises:
            ModelError: It is missing, or not a list.
        """
        return len(self._numbers(name, None))

    def integers(self, name: str, count: int | None = None) -> NDArray[np.int64]:
        """Return a member that is a list of integers, as int64[count].

        Args:
            name: The member.
            count: How many it must have, or None if any number will do.

        Raises:
            ModelError: It is missing, or not such a list.
        """
        numbers = self._numbers(name, count)
        if not isinstance(numbers, list):
            return numbers.integers(self.place(name))
        if not all(type(each) is int for each in numbers):
            refuse(f"{self.place(name)} is not a list of integers")
        return np.array(numbers, np.int64)

    def singles(self, name: str, count: int) -> Float32:
        """Return a member that is a list of numbers, as float32[count].

        Raises:
            ModelError: It is missing, or not such a list.
        """
        numbers = self._numbers(name, count)
        if not isinstance(numbers, list):
            return numbers.singles(self.place(name))
        if not all(type(each) is float for each in numbers):
            refuse(f"{self.place(name)} is not a list of numbers")
        # UBJ writes them as float32, so they are not rounded here.
        return np.array(numbers, np.float32)

    def _numbers(self, name: str, count: int | None) -> NumberList | list[Value]:
        """Return a member that may be a list of numbers, with the right length."""
        found = self.value(name)
        if not isinstance(found, TextNumbers | BinaryNumbers | list):
            refuse(f"{self.place(name)} is not a list of numbers")
        if count is not None and len(found) != count:
            refuse(f"{self.place(name)} has {len(found):,} numbers, not {count:,}")
        return found


def section_of(value: Value, where: str) -> Section:
    """Return a value that is an object.

    Raises:
        ModelError: It is not an object.
    """
    if not isinstance(value, dict):
        refuse(f"{where} is not an object" if where else "it is not an object")
    return Section(value, where)
