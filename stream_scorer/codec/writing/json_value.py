"""JSON values to Avro bytes by a parsed schema, without fastavro.

Unions are untagged: ``"city": "Oslo"`` for ``["null", "string"]``. The kind of a JSON value (null,
boolean, number, string, array, object) chooses the branch:

- A whole number is ``int`` or ``long``, the first that holds it, and else ``double`` or ``float``.
  A number with a fraction or an exponent is ``double`` or ``float``.
- If two branches take the same kind otherwise, such as ``string`` and ``bytes``, values of that
  kind must be tagged: ``{"bytes": "..."}``, with the type's full name. If the union also has a
  record or a map, objects must be tagged, too.

==================================  ===============================================================
Avro                                JSON
==================================  ===============================================================
int, long                           a number without fraction and exponent
float, double                       a number; finite
string                              a string
bytes, fixed                        a string whose characters U+0000 to U+00FF are the bytes
enum                                a symbol
record, map; array                  an object; an array
decimal                             a string such as ``"-12.50"``, at most as precise as the type
uuid                                a string in the usual form with hyphens
date, time, timestamp, local time   a number as stored; or an ISO 8601 string that is not more
                                    precise than the type, with an offset or ``Z`` for a timestamp
duration                            an object with ``months``, ``days`` and ``milliseconds``
==================================  ===============================================================

A missing field has its default; without one it is null if it may be null. An unknown field is
refused, because it is a misspelling or is lost.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stream_scorer.codec.writing import json_logical
from stream_scorer.codec.writing.json_text import JsonNumber, JsonValueError, kind_of
from stream_scorer.codec.writing.json_unions import Branch, union_writer
from stream_scorer.codec.writing.varints import put_long
from stream_scorer.core.events.plan import Plan
from stream_scorer.registry.definition import Definition
from stream_scorer.registry.limits import shown

Write = Callable[[bytearray, Any], None]
"""Appends the Avro bytes of a JSON value, as ``json_text.parse_json`` returns it."""

_INT: Final = 31
_LONG: Final = 63
_DIGITS_MOST: Final = 19
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_NESTED_DEFAULTS_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class ValueLimits:
    """Limits on one value.

    Attributes:
        bytes_max: Encoded bytes of all of it.
        string_bytes_max: Bytes of a string, of bytes or of a map's key.
        items_max: Items of an array or a map.
    """

    bytes_max: int
    string_bytes_max: int
    items_max: int

    @classmethod
    def of(cls, plan: Plan) -> "ValueLimits":
        """Return the limits of a plan."""
        return cls(plan.record_bytes_max, plan.string_bytes_max, plan.array_items_max)


class JsonValueEncoder:
    r"""Encodes JSON values of one schema. Thread-safe once it is made.

    Args:
        definition: The schema.
        limits: Limits on a value.

    Example:
        >>> from stream_scorer.codec.writing.json_text import parse_json
        >>> from stream_scorer.registry.definition import parse_definition
        >>> schema = parse_definition('{"type": "map", "values": ["null", "long"]}', "example")
        >>> encoder = JsonValueEncoder(schema, ValueLimits(100, 10, 10))
        >>> encoder.encode(parse_json(b'{"a": 3}'))
        b'\x02\x02a\x02\x06\x00'
    """

    def __init__(self, definition: Definition, limits: ValueLimits) -> None:
        self._limits = limits
        self._write = _Compiler(definition, limits, logical=True).writer(definition.root)

    def encode(self, value: Any) -> bytes:
        """Return a value's Avro bytes, without a header.

        Args:
            value: As :func:`~stream_scorer.codec.writing.json_text.parse_json` returns it.

        Raises:
            JsonValueError: It does not fit the schema, or exceeds a limit; names the path.
        """
        out = bytearray()
        self._write(out, value)
        if len(out) > self._limits.bytes_max:
            raise JsonValueError(f"longer than {self._limits.bytes_max} bytes when encoded")
        return bytes(out)


class _Compiler:
    """Makes the writers of a schema's types.

    Args:
        definition: The schema.
        limits: Limits on a value.
        logical: False for defaults, which a schema gives as they are stored.
    """

    def __init__(self, definition: Definition, limits: ValueLimits, *, logical: bool) -> None:
        self._definition = definition
        self._limits = limits
        self._logical = logical
        self._named: dict[str, Write] = {}
        self._plain: _Compiler | None = None

    def writer(self, schema: Any) -> Write:
        """Return the writer of a type."""
        schema = self._definition.expand(schema)
        if isinstance(schema, list):
            return self._union(schema)
        if not isinstance(schema, dict):
            return self._simple(str(schema), {})
        name = schema.get("name")
        if schema["type"] not in {"record", "enum", "fixed"} or name is None:
            return self._simple(str(schema["type"]), schema)
        if name not in self._named:
            # A record may contain itself: its writer is looked up when it is needed.
            self._named[name] = partial(self._later, name)
            self._named[name] = self._simple(str(schema["type"]), schema)
        return self._named[name]

    def _later(self, name: str, out: bytearray, value: Any) -> None:
        self._named[name](out, value)

    def _simple(self, kind: str, schema: Mapping[str, Any]) -> Write:
        logical = str(schema.get("logicalType", "")) if self._logical else ""
        special = json_logical.writer(kind, logical, schema)
        if special is not None:
            return special
        limits = self._limits
        made: dict[str, Callable[[], Write]] = {
            "record": lambda: self._record(schema),
            "array": lambda: _array(self.writer(schema["items"]), limits),
            "map": lambda: _map(self.writer(schema["values"]), limits),
            "enum": lambda: _enum({symbol: at for at, symbol in enumerate(schema["symbols"])}),
            "fixed": lambda: _fixed(int(schema["size"])),
            "null": lambda: _null, "boolean": lambda: _boolean,
            "int": lambda: _whole(_INT), "long": lambda: _whole(_LONG),
            "float": lambda: _float, "double": lambda: _double,
            "string": lambda: _string(limits), "bytes": lambda: _bytes(limits),
        }  # fmt: skip
        return made[kind]()

    def _union(self, branches: list[Any]) -> Write:
        found = []
        for at, branch in enumerate(branches):
            plain = self._definition.expand(branch)
            kind = self._definition.kind(branch)
            table = plain if isinstance(plain, dict) else {}
            logical = str(table.get("logicalType", "")) if self._logical else ""
            name = str(table.get("name", kind))
            found.append(Branch(at, name, kind, logical, self.writer(branch)))
        return union_writer(found, tagged=self._logical)

    def _record(self, schema: Mapping[str, Any]) -> Write:
        fields: list[tuple[str, Write, Callable[[], bytes] | None]] = [
            (each["name"], self.writer(each["type"]), self._default(each))
            for each in schema["fields"]
        ]
        names = frozenset(name for name, _, _ in fields)

        def write(out: bytearray, value: Any) -> None:
            if not isinstance(value, dict):
                raise JsonValueError(f"must be an object, not {kind_of(value)}")
            if len(out) > self._limits.bytes_max:
                raise JsonValueError(f"longer than {self._limits.bytes_max} bytes when encoded")
            left = len(value)
            for name, one, default in fields:
                if name in value:
                    left -= 1
                    try:
                        one(out, value[name])
                    except JsonValueError as error:
                        raise error.inside(name) from None
                elif default is None:
                    raise JsonValueError("is missing").inside(name)
                else:
                    out += default()
            if left:
                unknown = next(name for name in value if name not in names)
                raise JsonValueError(f"{shown(unknown)} is not a field of the schema")

        return write

    def _default(self, field: Mapping[str, Any]) -> Callable[[], bytes] | None:
        """Return what encodes a missing field; None if it must be there."""
        if "default" not in field:
            branches = self._definition.expand(field["type"])
            kinds = [self._definition.kind(each) for each in branches] if isinstance(
                branches, list
            ) else [self._definition.kind(branches)]  # fmt: skip
            if "null" not in kinds:
                return None
            null = bytearray()
            if isinstance(branches, list):
                put_long(null, kinds.index("null"))
            return lambda: bytes(null)
        known: list[bytes] = []
        nested = [0]

        def encoded() -> bytes:
            if not known:
                # The default of a record may need the default of one of its fields.
                nested[0] += 1
                if nested[0] > _NESTED_DEFAULTS_MOST:
                    raise JsonValueError("the schema's default has no end")
                out = bytearray()
                self._stored().writer(field["type"])(out, _as_parsed(field["default"]))
                known.append(bytes(out))
            return known[0]

        return encoded

    def _stored(self) -> "_Compiler":
        if not self._logical:
            return self
        if self._plain is None:
            self._plain = _Compiler(self._definition, self._limits, logical=False)
        return self._plain


def _as_parsed(value: Any) -> Any:
    """Return a value of a schema's JSON in the form of ``parse_json``."""
    if isinstance(value, dict):
        return {name: _as_parsed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_parsed(each) for each in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return JsonNumber(repr(value))


def _null(out: bytearray, value: Any) -> None:
    del out  # null has no bytes
    if value is not None:
        raise JsonValueError(f"must be null, not {kind_of(value)}")


def _boolean(out: bytearray, value: Any) -> None:
    if not isinstance(value, bool):
        raise JsonValueError(f"must be true or false, not {kind_of(value)}")
    out.append(value)


def _whole(bits: int) -> Write:
    end = 1 << bits

    def write(out: bytearray, value: Any) -> None:
        number = whole_number(value)
        if not -end <= number < end:
            raise JsonValueError(f"more than {bits + 1} bits hold")
        put_long(out, number)

    return write


def whole_number(value: Any) -> int:
    """Return a parsed JSON number as an int.

    Raises:
        JsonValueError: It is not a whole number, or longer than 64 bits can be.
    """
    if not isinstance(value, JsonNumber):
        raise JsonValueError(f"must be a whole number, not {kind_of(value)}")
    if not value.whole:
        raise JsonValueError("must be a whole number, without fraction and exponent")
    if len(value) > _DIGITS_MOST + 1:
        raise JsonValueError("more than 64 bits hold")
    return int(value)


def _real(value: Any) -> float:
    if not isinstance(value, JsonNumber):
        raise JsonValueError(f"must be a number, not {kind_of(value)}")
    number = float(value)
    if not math.isfinite(number):
        raise JsonValueError("more than a double holds")
    return number


def _double(out: bytearray, value: Any) -> None:
    out += _DOUBLE.pack(_real(value))


def _float(out: bytearray, value: Any) -> None:
    try:
        out += _FLOAT.pack(_real(value))
    except OverflowError:
        raise JsonValueError("more than a float holds") from None


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or isinstance(value, JsonNumber):
        raise JsonValueError(f"must be {what}, not {kind_of(value)}")
    return value


def _put_text(out: bytearray, text: str, limits: ValueLimits) -> None:
    data = text.encode()
    if len(data) > limits.string_bytes_max:
        raise JsonValueError(f"longer than {limits.string_bytes_max} bytes")
    put_long(out, len(data))
    out += data


def _string(limits: ValueLimits) -> Write:
    return lambda out, value: _put_text(out, _text(value, "a string"), limits)


def _data(value: Any) -> bytes:
    try:
        return _text(value, "a string").encode("latin-1")
    except UnicodeEncodeError:
        raise JsonValueError("bytes are characters from U+0000 to U+00FF") from None


def _bytes(limits: ValueLimits) -> Write:
    def write(out: bytearray, value: Any) -> None:
        data = _data(value)
        if len(data) > limits.string_bytes_max:
            raise JsonValueError(f"longer than {limits.string_bytes_max} bytes")
        put_long(out, len(data))
        out += data

    return write


def _fixed(size: int) -> Write:
    def write(out: bytearray, value: Any) -> None:
        data = _data(value)
        if len(data) != size:
            raise JsonValueError(f"must have {size} bytes, not {len(data)}")
        out += data

    return write


def _enum(places: Mapping[str, int]) -> Write:
    def write(out: bytearray, value: Any) -> None:
        at = places.get(_text(value, "a symbol"))
        if at is None:
            raise JsonValueError(f"{shown(value)} is not a symbol of the schema")
        put_long(out, at)

    return write


def _array(item: Write, limits: ValueLimits) -> Write:
    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, list):
            raise JsonValueError(f"must be an array, not {kind_of(value)}")
        _check_items(out, len(value), limits)
        if value:
            put_long(out, len(value))
        for at, each in enumerate(value):
            try:
                item(out, each)
            except JsonValueError as error:
                raise error.inside(at) from None
        out.append(0)

    return write


def _map(item: Write, limits: ValueLimits) -> Write:
    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, dict):
            raise JsonValueError(f"must be an object, not {kind_of(value)}")
        _check_items(out, len(value), limits)
        if value:
            put_long(out, len(value))
        for key, each in value.items():
            try:
                _put_text(out, key, limits)
                item(out, each)
            except JsonValueError as error:
                raise error.inside(key) from None
        out.append(0)

    return write


def _check_items(out: bytearray, count: int, limits: ValueLimits) -> None:
    if count > limits.items_max:
        raise JsonValueError(f"more than {limits.items_max} items")
    if len(out) > limits.bytes_max:
        raise JsonValueError(f"longer than {limits.bytes_max} bytes when encoded")
