"""Chooses the branch of a union for a JSON value without a tag."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.codec.writing.json_logical import OBJECTS, TIMES
from stream_scorer.codec.writing.json_text import JsonNumber, JsonValueError, kind_of
from stream_scorer.codec.writing.varints import put_long

_KINDS: Final = {
    "null": "null", "boolean": "a boolean", "int": "a number", "long": "a number",
    "float": "a number", "double": "a number", "array": "an array", "map": "an object",
    "record": "an object",
}  # fmt: skip
_WHOLE_ORDER: Final = ("int", "long", "double", "float")
_REAL_ORDER: Final = ("double", "float")
_INT_END, _LONG_END = 1 << 31, 1 << 63


@dataclass(frozen=True, slots=True)
class Branch:
    """One type of a union.

    Attributes:
        at: Its place.
        name: Its full name, or its type.
        kind: Its type.
        logical: Its logical type; may be empty.
        write: Writes its values.
    """

    at: int
    name: str
    kind: str
    logical: str
    write: Callable[[bytearray, Any], None]

    @property
    def json(self) -> str:
        """The kind of JSON value that it always takes."""
        if (self.kind, self.logical) in OBJECTS:
            return "an object"
        return _KINDS.get(self.kind, "a string")

    @property
    def timed(self) -> bool:
        """Whether it is a number that also takes a string."""
        return (self.kind, self.logical) in TIMES

    def put(self, out: bytearray, value: Any) -> None:
        """Write the branch and a value."""
        put_long(out, self.at)
        self.write(out, value)


def union_writer(
    branches: Sequence[Branch], *, tagged: bool = True
) -> Callable[[bytearray, Any], None]:
    """Return the writer of a union.

    Args:
        branches: Its types.
        tagged: Whether values that fit several types need a tag; otherwise the first type that
            takes a value is chosen, as for a default.
    """
    return _Union(branches) if tagged else _first(branches)


class _Union:
    """Writes values of a union by their kinds, or by their tags."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._by_kind: dict[str, list[Branch]] = {}
        for branch in branches:
            self._by_kind.setdefault(branch.json, []).append(branch)
        timed = [branch for branch in branches if branch.timed]
        if timed and "a string" not in self._by_kind:
            self._by_kind["a string"] = timed
        self._unclear = {kind for kind, found in self._by_kind.items() if _unclear(kind, found)}
        if self._unclear and "an object" in self._by_kind:
            self._unclear.add("an object")
        self._by_name = {branch.name: branch for branch in branches}

    def __call__(self, out: bytearray, value: Any) -> None:
        if self._unclear and isinstance(value, dict) and len(value) == 1:
            name, inner = next(iter(value.items()))
            if name in self._by_name:
                try:
                    self._by_name[name].put(out, inner)
                except JsonValueError as error:
                    raise error.inside(name) from None
                return
        self._untagged(kind_of(value), value).put(out, value)

    def _untagged(self, kind: str, value: Any) -> Branch:
        found = self._by_kind.get(kind)
        if not found:
            raise JsonValueError(f"must be {' or '.join(self._by_kind)}, not {kind}")
        if kind in self._unclear:
            names = " or ".join(f'{{"{each.name}": ...}}' for each in found)
            raise JsonValueError(f"{kind} needs a tag here: {names}")
        return _number(found, value) if isinstance(value, JsonNumber) else found[0]


def _unclear(kind: str, branches: Sequence[Branch]) -> bool:
    """Whether the kind of a value does not determine its branch."""
    if len(branches) == 1 or kind == "null":
        return False
    if kind != "a number":
        return True
    whole = [branch for branch in branches if branch.kind in {"int", "long"}]
    return len(whole) > 1 and any(branch.logical for branch in whole)


def _number(branches: Sequence[Branch], value: JsonNumber) -> Branch:
    found = {branch.kind: branch for branch in branches}
    if not value.whole:
        order: Iterable[str] = _REAL_ORDER
    else:
        number = int(value)
        order = _WHOLE_ORDER
        if not -_INT_END <= number < _INT_END:
            order = _WHOLE_ORDER[1:]
        if not -_LONG_END <= number < _LONG_END:
            order = _REAL_ORDER
    # The last: it gives the reason why no branch takes the number.
    return next((found[kind] for kind in order if kind in found), branches[-1])


def _first(branches: Sequence[Branch]) -> Callable[[bytearray, Any], None]:
    def write(out: bytearray, value: Any) -> None:
        reason: JsonValueError | None = None
        for branch in branches:
            tried = bytearray()
            try:
                branch.put(tried, value)
            except JsonValueError as error:
                reason = reason or error
                continue
            out += tried
            return
        raise reason or JsonValueError("a union of nothing")

    return write
