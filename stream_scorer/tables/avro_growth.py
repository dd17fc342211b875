"""Refuses schemas of Avro container files by which a few bytes become very many values.

fastavro reads a record without a limit on its values: null and a ``fixed`` of size 0 have no bytes,
and a type that contains itself is read by recursion in C, without a limit of depth. So the schema
is checked: every record of b bytes has at most 64 b + 4,096 values, as in the stream.
"""

from typing import Any, Final

from stream_scorer.registry.definition import Definition
from stream_scorer.tables.pieces import DamagedError

VALUES_PER_BYTE: Final = 64
"""Maximum values for each byte of a record, in addition to :data:`VALUES_BASE`."""
VALUES_BASE: Final = 4_096
DEPTH_MOST: Final = 512
"""Maximum number of types around a value; fastavro's recursion takes some kilobytes for each."""

_LEAST_BYTES: Final = {"null": 0, "float": 4, "double": 8}
"""Minimum bytes of a value; of the other types, one."""


def refuse_growth(definition: Definition) -> None:
    """Check the schema of a container file.

    Raises:
        DamagedError: A type contains itself, types are nested too deeply, a record may have no
            bytes, or a few bytes may have too many values.
    """
    excess, least, _ = _Sizes(definition).of(definition.root)
    if not least:
        raise DamagedError("its Avro schema allows records without bytes")
    if excess > VALUES_BASE:
        raise DamagedError("its Avro schema allows too many values in a few bytes")


class _Sizes:
    """Computes sizes of types; those of a named type only once."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._known: dict[str, tuple[int, int, int] | None] = {}

    def of(self, schema: Any) -> tuple[int, int, int]:
        """Return (excess, least, depth) of a type's values.

        excess: the maximum, over all values, of the number of values in it, itself included, less
        64 for each of its bytes. least: its minimum bytes. depth: how many types are nested.
        """
        schema = self._definition.expand(schema)
        name = schema.get("name") if isinstance(schema, dict) else None
        if name is None:
            return self._limited(*self._sizes(schema))
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self._limited(*self._sizes(schema))
        found = self._known[name]
        if found is None:
            raise DamagedError(f"its Avro schema has a type that contains itself: {name}")
        return found

    def _limited(self, excess: int, least: int, depth: int) -> tuple[int, int, int]:
        if depth > DEPTH_MOST:
            raise DamagedError(f"its Avro schema nests more than {DEPTH_MOST} types")
        return excess, least, depth

    def _sizes(self, schema: Any) -> tuple[int, int, int]:
        if isinstance(schema, list):
            branches = [self.of(branch) for branch in schema]
            return (
                max((each[0] for each in branches), default=0) + 1 - VALUES_PER_BYTE,
                min((each[1] for each in branches), default=0) + 1,
                max((each[2] for each in branches), default=0) + 1,
            )
        kind = self._definition.kind(schema)
        if kind == "record":
            fields = [self.of(field["type"]) for field in schema["fields"]]
            return (
                sum(each[0] for each in fields) + 1,
                sum(each[1] for each in fields),
                max((each[2] for each in fields), default=0) + 1,
            )
        if kind in {"array", "map"}:
            key = kind == "map"
            excess, _, depth = self.of(schema["values" if key else "items"])
            if excess - VALUES_PER_BYTE * key > 0:
                raise DamagedError(f"its Avro schema allows too many values in a few bytes: {kind}")
            return 1 - VALUES_PER_BYTE, 1, depth + 1
        least = schema["size"] if kind == "fixed" else _LEAST_BYTES.get(kind, 1)
        return 1 - VALUES_PER_BYTE * least, least, 1
