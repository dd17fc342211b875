"""Find the extra fields of a feature list, to check the list without its plan.

A plan declares the extra fields and their types. Without it, each unknown field gets a type that
fits all its uses, if there is one.
"""

from collections.abc import Iterator, Mapping, Sequence

from stream_scorer.core.events.extras import (
    BOOLEAN,
    DOUBLE,
    LONG,
    MOST_EXTRAS,
    STRING,
    TIMESTAMP,
    TYPES,
    check_extras,
)
from stream_scorer.core.features.expressions import names, parse

_NUMBERS = frozenset({LONG, DOUBLE, TIMESTAMP})
_BY_KIND = {
    **dict.fromkeys(("sum", "mean", "min", "max", "median", "stddev"), _NUMBERS),
    **dict.fromkeys(("distinct", "first_seen"), frozenset({STRING, BOOLEAN})),
    "categorical": frozenset({STRING}),
    "passthrough": _NUMBERS | {BOOLEAN},
}
_ORDER = (STRING, DOUBLE, *TYPES)


def extras_named(tables: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the names that can only be extra fields, each with a type that fits its uses.

    Args:
        tables: The features' tables, which may be invalid in any way.
    """
    found: dict[str, frozenset[str]] = {}
    features = {table["name"] for table in tables if isinstance(table.get("name"), str)}
    for table in tables:
        for name, fitting in _uses(table, features):
            # If no type fits all uses, the feature with the later use is refused for its type.
            found[name] = found.get(name, fitting) & fitting or found[name]
    extras: dict[str, str] = {}
    for name, fitting in found.items():
        kind = next(each for each in _ORDER if each in fitting)
        try:
            check_extras({name: kind})
        except ValueError:
            continue
        if len(extras) < MOST_EXTRAS:
            extras[name] = kind
    return extras


def _uses(
    table: Mapping[str, object], features: set[object]
) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the names of fields in a feature's table, each with the types that it may have."""
    kind, field, key = table.get("kind"), table.get("field"), table.get("key")
    if isinstance(kind, str) and isinstance(field, str) and kind in _BY_KIND:
        yield field, _BY_KIND[kind]
    if isinstance(key, list | tuple):
        yield from ((part, frozenset({STRING})) for part in key if isinstance(part, str))
    where = table.get("where")
    if isinstance(where, dict):
        for name, value in where.items():
            if isinstance(name, str):
                yield name, frozenset({BOOLEAN if isinstance(value, bool) else STRING})
    if kind == "expression":
        try:
            used = list(names(parse(table.get("value"))))
        except ValueError:
            return
        yield from ((name, _NUMBERS | {BOOLEAN}) for name in used if name not in features)
