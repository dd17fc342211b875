"""Lists of numbers in a model file, converted only when their length is known to be right."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.importing.xgboost.float32_cuts import widened
from stream_scorer.models.importing.xgboost.refusals import refuse

Float32 = NDArray[np.float32]

_SPACE: Final = rb"[ \t\r\n]*+"
_BLANK: Final = re.compile(_SPACE)
_INTEGER: Final = rb"-?(?:0|[1-9][0-9]{0,17})"
# The counts of digits bound the work for one number, whatever the file says.
_NUMBER: Final = (
    rb"-?[0-9]{1,40}(?:\.[0-9]{1,80})?(?:[eE][+-]?[0-9]{1,4})?"
    rb"|NaN|-?Infinity"
)
_INTEGERS: Final = re.compile(
    rb"(?:%b%b%b,)*+%b%b%b" % (_SPACE, _INTEGER, _SPACE, _SPACE, _INTEGER, _SPACE)
)
_NUMBERS: Final = re.compile(
    rb"(?:%b(?:%b)%b,)*+%b(?:%b)%b" % (_SPACE, _NUMBER, _SPACE, _SPACE, _NUMBER, _SPACE)
)


class NumberList(Protocol):
    """A list of numbers as the file has it."""

    def __len__(self) -> int:
        """Return how many numbers it has, without reading them."""
        ...

    def integers(self, where: str) -> NDArray[np.int64]:
        """Return int64[n].

        Args:
            where: The list's place in the file, for the error.

        Raises:
            ModelError: It has something else than integers.
        """
        ...

    def singles(self, where: str) -> Float32:
        """Return float32[n]; decimal numbers are rounded once, half to even.

        Raises:
            ModelError: It has something else than numbers.
        """
        ...


@dataclass(frozen=True, slots=True)
class TextNumbers:
    """Numbers in JSON: the text between the brackets.

    Attributes:
        data: The complete file.
        start: Where the text begins.
        end: One past its end.
    """

    data: bytes
    start: int
    end: int

    def __len__(self) -> int:
        """Return the number of commas plus 1, or 0 for an empty list."""
        if _BLANK.fullmatch(self.data, self.start, self.end):
            return 0
        return self.data.count(b",", self.start, self.end) + 1

    def _pieces(self, pattern: re.Pattern[bytes], where: str, what: str) -> list[bytes]:
        if len(self) == 0:
            return []
        if pattern.fullmatch(self.data, self.start, self.end) is None:
            refuse(f"{where} is not a list of {what}")
        return self.data[self.start : self.end].split(b",")

    def integers(self, where: str) -> NDArray[np.int64]:
        """Return int64[n]; see :class:`NumberList`."""
        pieces = self._pieces(_INTEGERS, where, "integers")
        return np.fromiter(map(int, pieces), np.int64, len(pieces))

    def singles(self, where: str) -> Float32:
        """Return float32[n]; see :class:`NumberList`."""
        pieces = self._pieces(_NUMBERS, where, "numbers")
        return _rounded(pieces)


def single(text: str) -> np.float32 | None:
    """Return the float32 number nearest to a decimal number; None if the text is not one."""
    piece = text.encode("utf-8", "replace").strip(b" \t\r\n")
    return None if _NUMBERS.fullmatch(piece) is None or b"," in piece else _rounded([piece])[0]


def _rounded(pieces: list[bytes]) -> Float32:
    """Round decimal numbers to float32, each once.

    Python rounds them to float64 first. If the result is in the middle between two float32 numbers,
    the digits that were rounded away decide.
    """
    doubles = np.fromiter(map(float, pieces), np.float64, len(pieces))
    with np.errstate(over="ignore"):
        found = doubles.astype(np.float32)
    for at in np.flatnonzero(_in_the_middle(doubles, found)):
        exact, middle = Fraction(pieces[at].decode().strip()), Fraction(float(doubles[at]))
        if exact != middle:
            towards = np.float32(np.inf if exact > middle else -np.inf)
            # One of the two neighbours of the middle; which one, rounding half to even has chosen.
            if (float(found[at]) < doubles[at]) == (exact > middle):
                found[at] = np.nextafter(found[at], towards)
    return found


def _in_the_middle(doubles: NDArray[np.float64], found: Float32) -> NDArray[np.bool_]:
    """Return bool[n]: which numbers are as far from ``found`` as from the next float32."""
    near = widened(found)
    with np.errstate(invalid="ignore", over="ignore"):
        upwards = np.where(doubles > near, np.inf, -np.inf).astype(np.float32)
        other = widened(np.nextafter(found, upwards))
        middle: NDArray[np.bool_] = (doubles != near) & ((near + other) / 2 == doubles)
    return middle


@dataclass(frozen=True, slots=True)
class BinaryNumbers:
    """Numbers in UBJ.

    Attributes:
        array: big-endian integers or float32[n], a view of the file.
    """

    array: NDArray[Any]

    def __len__(self) -> int:
        """Return n."""
        return len(self.array)

    def integers(self, where: str) -> NDArray[np.int64]:
        """Return int64[n]; see :class:`NumberList`."""
        if len(self.array) and self.array.dtype.kind not in "iu":
            refuse(f"{where} is not a list of integers")
        return self.array.astype(np.int64)

    def singles(self, where: str) -> Float32:
        """Return float32[n]; see :class:`NumberList`."""
        if len(self.array) and self.array.dtype.kind != "f":
            refuse(f"{where} is not a list of numbers")
        return self.array.astype(np.float32)
