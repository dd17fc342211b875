"""The protobuf encoding, read within limits: only what is necessary to judge an ONNX file.

A message is a list of fields. Each has a number and a value: an integer of variable length, 4 or 8
bytes, or bytes with their length. Protobuf allows a single field to occur several times, and
ignores unknown ones. Two readers could then understand a file differently, so both are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

VARINT: Final = 0
EIGHT_BYTES: Final = 1
BYTES: Final = 2
FOUR_BYTES: Final = 5

FIELDS_MOST: Final = 200_000
"""Maximum fields that are read from a file."""

_VARINT_LONGEST: Final = 10
_VARINT_END: Final = 0x80
_NUMBER_MOST: Final = (1 << 29) - 1
_UNSIGNED: Final = 1 << 64
_SIGNED_MOST: Final = (1 << 63) - 1
_WIDTHS: Final = {EIGHT_BYTES: 8, FOUR_BYTES: 4}


@dataclass(frozen=True, slots=True)
class KnownField:
    """One field of a message.

    Attributes:
        name: Its name in ``onnx.proto``.
        kind: Its encoding, one of :data:`VARINT`, :data:`EIGHT_BYTES`, :data:`BYTES` and
            :data:`FOUR_BYTES`.
        repeated: Whether it may occur several times. Repeated numbers may also be packed.
    """

    name: str
    kind: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class WireField:
    """A field as it is in a file.

    Attributes:
        number: Its number.
        kind: Its encoding.
        value: An integer as an unsigned number of 64 bits; otherwise the bytes.
        begin: Where the field begins in the message.
        end: Where it ends.
    """

    number: int
    kind: int
    value: int | memoryview
    begin: int
    end: int


class Budget:
    """Counts the fields of a file, so that a file of tiny fields cannot take long."""

    def __init__(self) -> None:
        self._left = FIELDS_MOST

    def take(self) -> None:
        """Count a field.

        Raises:
            ValueError: There were more than :data:`FIELDS_MOST`.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it has more than {FIELDS_MOST:,} fields")


class Message:
    """The fields of a message by their names.

    Args:
        data: The encoded message.
        fields: The known fields by their numbers.
        place: What the message is called in errors.
        budget: Counts the fields.

    Raises:
        ValueError: The message is malformed, has an unknown field or a single field twice.
    """

    def __init__(
        self, data: memoryview, fields: Mapping[int, KnownField], place: str, budget: Budget
    ) -> None:
        self._found: dict[str, list[int | memoryview]] = {}
        for each in wire_fields(data, place, budget):
            field = fields.get(each.number)
            if field is None:
                raise ValueError(f"{place} has an unknown field {each.number}")
            packed = field.repeated and each.kind == BYTES
            if each.kind != field.kind and not packed:
                raise ValueError(f"{place}: {field.name} has another encoding")
            values = self._found.setdefault(field.name, [])
            if values and not field.repeated:
                raise ValueError(f"{place}: {field.name} occurs twice")
            values.append(each.value)

    def has(self, name: str) -> bool:
        """Return whether a field occurs."""
        return name in self._found

    def messages(self, name: str) -> list[memoryview]:
        """Return the values of a field of bytes."""
        return [value for value in self._found.get(name, []) if isinstance(value, memoryview)]

    def text(self, name: str) -> str:
        """Return a text; empty if the field does not occur.

        Raises:
            ValueError: It is not UTF-8.
        """
        found = self.messages(name)
        return as_text(found[0], name) if found else ""

    def integer(self, name: str) -> int:
        """Return a signed integer; 0 if the field does not occur."""
        found = self._found.get(name, [0])[0]
        return _signed(found) if isinstance(found, int) else 0

    def integers(self, name: str, most: int) -> list[int]:
        """Return the signed integers of a repeated field, packed or not.

        Raises:
            ValueError: There are more than ``most``.
        """
        if self.count(name, VARINT) > most:
            raise ValueError(f"{name} has more than {most} numbers")
        out: list[int] = []
        for value in self._found.get(name, []):
            if isinstance(value, int):
                out.append(_signed(value))
                continue
            at = 0
            while at < len(value):
                number, at = _varint(value, at, name)
                out.append(_signed(number))
        return out

    def count(self, name: str, kind: int) -> int:
        """Return how many values a repeated field has, without reading packed ones.

        Args:
            name: The field.
            kind: Its encoding where it is not packed.

        Raises:
            ValueError: Packed values end inside a value.
        """
        total = 0
        for value in self._found.get(name, []):
            if kind == BYTES or not isinstance(value, memoryview):
                total += 1
            elif kind == VARINT:
                ends = np.frombuffer(value, np.uint8) < _VARINT_END
                if len(ends) and not ends[-1]:
                    raise ValueError(f"{name} ends inside a number")
                total += int(ends.sum())
            else:
                # A single number of 4 or 8 bytes is a view, too, of exactly that length.
                if len(value) % _WIDTHS[kind]:
                    raise ValueError(f"{name} ends inside a number")
                total += len(value) // _WIDTHS[kind]
        return total


def as_text(value: memoryview, name: str) -> str:
    """Return the text of a field.

    Raises:
        ValueError: It is longer than 1,000 bytes or not UTF-8.
    """
    if len(value) > 1000:  # noqa: PLR2004 as in the docstring
        raise ValueError(f"{name} is longer than 1,000 bytes")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None


def wire_fields(data: memoryview, place: str, budget: Budget) -> Iterator[WireField]:
    """Yield the fields of an encoded message.

    Args:
        data: The message.
        place: What it is called in errors.
        budget: Counts the fields.

    Raises:
        ValueError: The message is malformed; or there are too many fields.
    """
    at = 0
    while at < len(data):
        budget.take()
        begin = at
        tag, at = _varint(data, at, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _NUMBER_MOST:
            raise ValueError(f"{place} has a field with the number {number}")
        value: int | memoryview
        if kind == VARINT:
            value, at = _varint(data, at, place)
        else:
            if kind == BYTES:
                width, at = _varint(data, at, place)
            elif kind in _WIDTHS:
                width = _WIDTHS[kind]
            else:
                raise ValueError(f"{place} has a field of the unknown encoding {kind}")
            if width > len(data) - at:
                raise ValueError(f"{place} ends inside a field of {width} bytes")
            value = data[at : at + width]
            at += width
        yield WireField(number, kind, value, begin, at)


def _varint(data: memoryview, at: int, place: str) -> tuple[int, int]:
    """Return an integer of variable length, and where it ends."""
    value = 0
    for shift in range(_VARINT_LONGEST):
        if at + shift >= len(data):
            raise ValueError(f"{place} ends inside a number")
        byte = data[at + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < _VARINT_END:
            if value >= _UNSIGNED:
                break
            return value, at + shift + 1
    raise ValueError(f"{place} has a number of more than 64 bits")


def _signed(value: int) -> int:
    return value - _UNSIGNED if value > _SIGNED_MOST else value


def length_delimited(number: int, payload: bytes) -> bytes:
    """Return a field of bytes.

    Args:
        number: The number of the field.
        payload: Its bytes.
    """
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """Return an unsigned integer of variable length."""
    out = bytearray()
    while value >= _VARINT_END:
        out.append(value & 0x7F | _VARINT_END)
        value >>= 7
    out.append(value)
    return bytes(out)
