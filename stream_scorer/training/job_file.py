"""A TOML file with the options of ``train``; docs/TRAINING.md lists its keys."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from stream_scorer.core.mapping.mapping import EventMapping, training_labels
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.store import small_text
from stream_scorer.nesting import parse_toml


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _number(value: object) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None  # type: ignore[arg-type]


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _cost(value: object) -> str | None:
    return str(value) if _number(value) is not None else _text(value)


def _parameters(value: object) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    plain = all(
        isinstance(each, str | bool) or _number(each) is not None for each in value.values()
    )
    return value if plain else None


def _labels(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


_Check = Callable[[object], object]
_TEXT: Final = (_text, "text")
_PATH: Final = (_text, "the path of a file or folder")
_NUMBER: Final = (_number, "a finite number")
_KEYS: Final[Mapping[str, tuple[_Check, str]]] = {
    "data": _PATH,
    "features": _PATH,
    "plan": _PATH,
    "events": _PATH,
    "out": _PATH,
    "model": _TEXT,
    "version": _TEXT,
    "name": _TEXT,
    "protocol": _TEXT,
    "train": _TEXT,
    "validation": _TEXT,
    "test": _TEXT,
    "licence": _TEXT,
    "delay_days": (_whole, "a whole number"),
    "cards_per_day": (_whole, "a whole number"),
    "resamples": (_whole, "a whole number"),
    "engine": (_whole, "a whole number"),
    "missed_fraud_cost": (_cost, 'text such as "0.8*amount+20", or a number'),
    "review_cost": _NUMBER,
    "false_block_cost": _NUMBER,
    "most_rejected": _NUMBER,
    "sort": (_flag, "true or false"),
    "matured": (_flag, "true or false"),
    "parameter": (_parameters, "a table of NAME = text, number, true or false"),
    "labels": (_labels, "a table that names columns"),
}


def read_job_file(path: Path) -> dict[str, Any]:
    """Return a file's values by key: the options' names with ``_`` for ``-``.

    Args:
        path: The file. Paths in it are relative to its folder.

    Raises:
        SettingsError: It cannot be read, is larger than 1 MiB, a key is unknown, or a value has
            another type; names file and key.
    """
    table = _table(path)
    found = {}
    for name, value in table.items():
        if name not in _KEYS:
            raise SettingsError(
                f"{path}: unknown key {name[:64]!r}", f"known are {', '.join(sorted(_KEYS))}"
            )
        check, kind = _KEYS[name]
        read = check(value)
        if read is None:
            shown = ascii(value)
            shown = shown if len(shown) <= 40 else f"{shown[:37]}..."  # noqa: PLR2004 a part of a line
            raise SettingsError(f"{path}: {name}: must be {kind}, not {shown}", "correct it")
        found[name] = path.parent / str(read) if _KEYS[name] is _PATH else read
    if "labels" in found:
        found["labels"] = _read_labels(path, found["labels"])
    return found


def read_labels_file(path: Path) -> EventMapping:
    """Return where training data have their labels: the table ``labels`` of a file.

    Args:
        path: TOML. Its other keys do not count, so a file for ``train`` will do.

    Raises:
        SettingsError: It cannot be read, has no such table, or the table is not valid.
    """
    table = _table(path)
    if "labels" not in table:
        raise SettingsError(f"{path}: [labels] is missing", "name the columns of the labels there")
    return _read_labels(path, table["labels"])


def _read_labels(path: Path, table: object) -> EventMapping:
    try:
        return training_labels(table)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}", "correct it") from error


def _table(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(small_text(path))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "name a TOML file") from error
    except ValueError as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"{path}: {what}", "correct it") from error
