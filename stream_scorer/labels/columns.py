"""The columns of a file of labels: our names, or those that a file of names gives.

::

    [labels]                      # our name = theirs; a column that is not named keeps its name
    transaction_id = "arn"
    state = "result"
    label_time = "reported_at"

    [states]                      # texts of their column of states, besides our own four
    CHARGEBACK = "FRAUD"
    WITHDRAWN = "GENUINE"
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from stream_scorer.core.labelling.contract import STATE_NAMES
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.store import small_text
from stream_scorer.nesting import parse_toml

_TIME: Final = pa.timestamp("ms", "UTC")
COLUMNS: Final[Mapping[str, pa.DataType]] = {
    "transaction_id": pa.string(),
    "state": pa.string(),
    "is_fraud": pa.bool_(),
    "label_time": _TIME,
    "source": pa.string(),
    "label_id": pa.string(),
    "reason_code": pa.string(),
    "retracts": pa.string(),
    "drawn": pa.string(),
}
"""Columns of a file of labels, by our names, with their types. ``drawn`` is read as a text."""
STATES: Final[Mapping[str, int]] = {name: state for state, name in enumerate(STATE_NAMES)}
"""States by their names in the schema of labels."""


@dataclass(frozen=True, slots=True)
class LabelNames:
    """The names in a file of labels.

    Attributes:
        theirs: By our names, the file's, where they differ.
        states: By the file's texts, states, in addition to our own.
    """

    theirs: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)

    def of(self, ours: str) -> str:
        """Return the file's name of one of our columns."""
        return self.theirs.get(ours, ours)


def read_names(path: Path) -> LabelNames:
    """Read a file of names.

    Raises:
        SettingsError: It cannot be read, or a key or a value is unknown; names it.
    """
    try:
        table: dict[str, Any] = parse_toml(small_text(path))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", "name a TOML file") from error
    except ValueError as error:
        what = " ".join(str(error).split())
        raise SettingsError(f"{path}: {what}", "correct it") from error
    _refuse_unknown(path, "", table, ("labels", "states"))
    theirs, states = (_texts(path, table, key) for key in ("labels", "states"))
    _refuse_unknown(path, "labels.", theirs, COLUMNS)
    for text, state in states.items():
        if state not in STATES:
            raise SettingsError(
                f"{path}: states.{ascii(text)[1:-1][:64]}: {ascii(state)[:64]} is not a state",
                f"states are {', '.join(STATES)}",
            )
    # A column that is not named keeps its name, which may be another one's, too.
    named = [theirs.get(ours, ours) for ours in COLUMNS]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        ours = " and ".join(each for each in COLUMNS if theirs.get(each, each) == twice)
        raise SettingsError(
            f"{path}: labels: one column has two names: {ascii(twice)[:64]} is {ours}",
            "leave one out, or name a column for it that the file does not have",
        )
    return LabelNames(theirs, {text: STATES[state] for text, state in states.items()})


def _texts(path: Path, table: Mapping[str, Any], key: str) -> dict[str, str]:
    found = table.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(v, str) and v for v in found.values()):
        raise SettingsError(f"{path}: {key}: must be a table of texts", "correct it")
    return found


def _refuse_unknown(
    path: Path, before: str, table: Mapping[str, Any], known: Mapping[str, Any] | tuple[str, ...]
) -> None:
    for name in table:
        if name not in known:
            raise SettingsError(
                f"{path}: unknown key {ascii(before + name)[:80]}", f"known are {', '.join(known)}"
            )
