"""The plan's table ``label_policy``, checked: what counts for a transaction without a label.

The table is plain data inside the plan; here it becomes names and numbers::

    [label_policy]
    unlabelled = "genuine"              # genuine | ignore | mature: guard, performance, training
    after_days = 45.0                   # of mature only: unknown before this age, then genuine
    unlabelled_in_risk = "genuine"      # genuine | ignore: rows of terminals
    sources = ["investigation", "chargeback", "customer"]   # the first one has the highest rank

Without the table, everything counts as before there were policies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.core.mapping.quoting import quoted

GENUINE: Final = "genuine"
IGNORE: Final = "ignore"
MATURE: Final = "mature"
SOURCES_MOST: Final = 64
"""Maximum number of sources that have a rank."""
SOURCE_LONGEST: Final = 100
"""Maximum number of characters of a source's name."""
DAYS_MOST: Final = 400
_DAY_MS = 86_400_000
_KEYS = ("unlabelled", "after_days", "unlabelled_in_risk", "sources")


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A label policy, as names and numbers.

    Attributes:
        unlabelled: What a transaction without a label counts as for the guard, performance and
            training: :data:`GENUINE`, :data:`IGNORE` (unknown) or :data:`MATURE` (unknown before
            ``after_ms``, then genuine).
        after_ms: Age in ms; 0 unless ``unlabelled`` is :data:`MATURE`.
        unlabelled_in_risk: The same for the rows of terminals: :data:`GENUINE` or :data:`IGNORE`.
        sources: Sources of labels, highest rank first. Any other has the lowest rank.
    """

    unlabelled: str
    after_ms: int = 0
    unlabelled_in_risk: str = GENUINE
    sources: tuple[str, ...] = ()


def read_label_policy(table: Mapping[str, Any]) -> LabelTable | None:
    """Return the label policy of a table; None if the table is empty.

    Args:
        table: As TOML or JSON has it.

    Raises:
        ValueError: A key is unknown or missing, or its value is not valid; the message is one line
            that names the key.
    """
    if not table:
        return None
    for key in table:
        if key not in _KEYS:
            raise ValueError(f"unknown key {quoted(key)}; known are {', '.join(_KEYS)}")
    if "unlabelled" not in table:
        raise ValueError("unlabelled: is missing; give genuine, ignore or mature")
    unlabelled = _choice("unlabelled", table["unlabelled"], (GENUINE, IGNORE, MATURE))
    in_risk = _choice(
        "unlabelled_in_risk", table.get("unlabelled_in_risk", GENUINE), (GENUINE, IGNORE)
    )
    if (unlabelled == MATURE) != ("after_days" in table):
        raise ValueError("after_days: must be given if unlabelled is mature, and only then")
    after_ms = _milliseconds(table["after_days"]) if unlabelled == MATURE else 0
    return LabelTable(unlabelled, after_ms, in_risk, _sources(table.get("sources", [])))


def _choice(key: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{key}: must be {', '.join(known)}, not {quoted(value)}")
    return value


def _milliseconds(days: Any) -> int:
    if type(days) not in (int, float) or not 0 < days <= DAYS_MOST:
        raise ValueError(
            f"after_days: must be a number above 0 and at most {DAYS_MOST}, not {quoted(days)}"
        )
    return max(round(days * _DAY_MS), 1)


def _sources(wanted: Any) -> tuple[str, ...]:
    if type(wanted) is not list:
        raise ValueError(f"sources: must be a list of names, not {quoted(wanted)}")
    if len(wanted) > SOURCES_MOST:
        raise ValueError(f"sources: at most {SOURCES_MOST}, not {len(wanted)}")
    for name in wanted:
        if type(name) is not str or not name or not name.isprintable():
            raise ValueError(f"sources: must list printable names, not {quoted(name)}")
        if len(name) > SOURCE_LONGEST:
            raise ValueError(
                f"sources: {quoted(name, 60)} has more than {SOURCE_LONGEST} characters"
            )
    if len(set(wanted)) < len(wanted):
        raise ValueError("sources: names a source twice")
    return tuple(wanted)
