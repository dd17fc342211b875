"""The plan: everything that may change a decision and is shared by all models.

Here it is checked and converted from and to tables. Files are read by ``models.stores``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from stream_scorer.core.events.explore_table import read_explore, read_review_sample
from stream_scorer.core.events.extras import check_extras
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.policy_table import read_policy
from stream_scorer.core.events.segment_table import read_segments
from stream_scorer.core.mapping.mapping import (
    EventMapping,
    LabelIdentity,
    check_with_plan,
    mapping_of,
)
from stream_scorer.core.mapping.minor_units import minor_per_unit
from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.nesting import parse_toml

_DAY_MS = 86_400_000
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_CURRENCY = re.compile("[A-Z]{3}")
_RANGES = {
    "revision": (0, _INT64),
    "lateness_ms": (0, _INT64),
    "ahead_ms": (0, 400 * _DAY_MS),
    "ring_cap": (1, 2**20),
    "late_decision_ms": (1, 400 * _DAY_MS),
    "amount_minor_max": (1, _INT64),
    "record_bytes_max": (6, _INT32),
    "string_bytes_max": (1, _INT32),
    "array_items_max": (0, _INT32),
    "summary_window_ms": (1_000, 400 * _DAY_MS),
    "terminal_delay_ms": (1, 400 * _DAY_MS),
    "terminal_slack_ms": (0, 400 * _DAY_MS),
    "terminal_wait_ms": (0, _DAY_MS),
}

PARTS = {"policy.toml": "policy", "events.toml": "events"}
"""Further files of a plan that is a folder, and the attribute with the table of each."""

_RANDOM_AND_LABELS = ("label_policy", "explore", "review_sample")
_TABLES = frozenset({*PARTS.values(), "extras", "segments", *_RANDOM_AND_LABELS})


@dataclass(frozen=True, slots=True)
class Plan:
    """What all model versions share when they decide; times in milliseconds.

    Attributes:
        revision: Number of this plan; 0 for the file that ``run --plan`` names.
        currencies: Accepted ISO 4217 codes and their exponents (1 unit = 10^exponent minor units).
        lateness_ms: An event that is older than the customer's newest event by more than this is
            decided and flagged ``late``, but not added to the ring.
        ahead_ms: Maximum time by which an event time may be after the record's Kafka timestamp.
        ring_cap: Maximum number of events in a customer's ring.
        late_decision_ms: A decision that is later than this after the event's Kafka timestamp is
            flagged.
        amount_minor_max: Largest accepted amount in minor units.
        record_bytes_max: Largest accepted payload in bytes.
        string_bytes_max: Longest accepted string or bytes value in bytes.
        array_items_max: Longest accepted array or map in items.
        model_error_share: If the model fails for a larger share of a batch, the scorer pauses
            instead of deciding. A batch of fewer than 100 rows counts as 100; rows with a missing
            or infinite feature do not count.
        summary_window_ms: Width of the event-time windows in summaries.
        terminal_delay_ms: Terminal features use only rows that are at least this much older than
            the event.
        terminal_slack_ms: A fraud label counts if it is known by event time + delay - slack. The
            terminal's row is published ``lateness_ms`` later. The slack must be longer than the
            lateness plus the profiler's lag.
        terminal_wait_ms: Maximum time for which a batch waits for late rows of terminals. Then it
            is decided without them and flagged ``degraded``.
        policy: The table of policy.toml, see ``policy_table``; empty: the bundles' thresholds.
        events: The table of events.toml: where each field is in a user's record
            (:mod:`~stream_scorer.core.mapping.mapping`); empty: records have our own schema.
        extras: Further fields of events, type by name; see ``extras``.
        segments: The groups of events that summaries count separately; see ``segment_table``.
        label_policy: What counts for transactions without a label; see ``label_table``.
        explore: Which would-be BLOCKs are let through at random; see ``explore_table``.
        review_sample: Which transactions are drawn at random for review; see ``explore_table``.
    """

    revision: int = 0
    currencies: dict[str, int] = field(default_factory=lambda: {"EUR": 2})
    lateness_ms: int = 3_600_000
    ahead_ms: int = 300_000
    ring_cap: int = 4096
    late_decision_ms: int = 60_000
    amount_minor_max: int = 10**12
    record_bytes_max: int = 65_536
    string_bytes_max: int = 1_024
    array_items_max: int = 256
    model_error_share: float = 0.1
    summary_window_ms: int = 3_600_000
    terminal_delay_ms: int = 7 * _DAY_MS
    terminal_slack_ms: int = _DAY_MS
    terminal_wait_ms: int = 10_000
    policy: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Any] = field(default_factory=dict)
    label_policy: dict[str, Any] = field(default_factory=dict)
    explore: dict[str, Any] = field(default_factory=dict)
    review_sample: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_currencies()
        check_extras(self.extras)
        self._check_events()
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name}: must be at least {least}, not {quoted(value)}")
            if value > most:
                raise ValueError(f"{name}: must be at most {most}, not {quoted(value)}")
        if self.ring_cap * self.amount_minor_max > _INT64:
            raise ValueError(
                f"amount_minor_max: {self.ring_cap} events of {self.amount_minor_max} are more "
                "than 64 bits hold, so a sum would overflow; lower it, or ring_cap"
            )
        if not 0 <= self.model_error_share <= 1:
            raise ValueError(
                f"model_error_share: must be between 0 and 1, not {quoted(self.model_error_share)}"
            )
        if self.lateness_ms > 30 * _DAY_MS:
            raise ValueError("lateness_ms: more than 30 days would keep every ring for ever")
        if self.terminal_slack_ms > self.terminal_delay_ms:
            raise ValueError(
                f"terminal_slack_ms: {self.terminal_slack_ms} is more than terminal_delay_ms, "
                f"{self.terminal_delay_ms}: no label would be known in time; lower it"
            )
        self._check_tables()

    def _check_tables(self) -> None:
        reading: dict[str, Callable[[], object]] = {
            "policy": lambda: read_policy(self.policy, self.exponent, self.extras),
            "segments": lambda: read_segments(self.segments, self.exponent, self.extras),
            "label_policy": lambda: read_label_policy(self.label_policy),
            "explore": lambda: read_explore(self.explore, self.exponent),
            "review_sample": lambda: read_review_sample(self.review_sample),
        }
        for name, read in reading.items():
            try:
                read()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if self.explore and not self.label_policy:
            raise ValueError(
                "explore: needs the table label_policy: without it, blocked transactions without "
                "a label count as genuine"
            )

    def _check_currencies(self) -> None:
        if not self.currencies:
            raise ValueError("currencies: at least one must be listed")
        for code, exponent in self.currencies.items():
            if _CURRENCY.fullmatch(code) is None:
                raise ValueError(f"currencies: {quoted(code)} is not an ISO 4217 code")
            if not 0 <= exponent <= 4:  # noqa: PLR2004 the range that ISO 4217 uses
                raise ValueError(
                    f"currencies: exponent of {code} must be 0 to 4, not {quoted(exponent)}"
                )

    def _check_events(self) -> None:
        if len(self.currencies) > 1 and not self.events.get("rates"):
            raise ValueError("currencies: more than one needs rates to a base; list one")
        if self.events:
            try:
                mapping = mapping_of(self.events)
                check_with_plan(mapping, self.currencies, self.extras)
            except ValueError as error:
                raise ValueError(f"events: {error}") from error

    @property
    def currency(self) -> str:
        """The currency that amounts are aggregated in: the only one, or the base of the rates."""
        base: str = self.events.get("rates", {}).get("base", "")
        return base or next(iter(self.currencies))

    @property
    def exponent(self) -> int:
        """Exponent of :attr:`currency`: amount in units = minor units / 10^exponent."""
        return self.currencies[self.currency]

    @property
    def minor_per_unit(self) -> int:
        """How many minor units a unit of :attr:`currency` has; rings count minor units."""
        return minor_per_unit(self.exponent)

    @property
    def mapping(self) -> EventMapping | None:
        """Where the fields are in a user's record; None if records have our own schema."""
        return mapping_of(self.events) if self.events else None

    def reads_as(self, other: "Plan") -> bool:
        """Whether another plan reads the same transactions from the same records."""
        return self is other or (
            _of_transactions(self.events) == _of_transactions(other.events)
            and self.currencies == other.currencies
        )

    @property
    def labels(self) -> EventMapping | None:
        """Where a label's fields are in a user's record; None if labels have our own schema."""
        mapping = self.mapping
        return None if mapping is None else mapping.labels

    @property
    def label_identity(self) -> LabelIdentity:
        """The fields by which a label names its transaction."""
        return LabelIdentity() if self.labels is None else self.labels.label_identity

    @property
    def has_terminals(self) -> bool:
        """Whether every event has a terminal."""
        mapping = self.mapping
        return mapping is None or mapping.has_terminals

    @property
    def unit(self) -> str:
        """The unit of amounts in rings: currency and exponent.

        >>> Plan().unit
        'EUR/2'
        """
        return f"{self.currency}/{self.exponent}"


def _of_transactions(events: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of events.toml without its section ``labels``."""
    return {name: value for name, value in events.items() if name != "labels"}


def parse_plan(text: str, parts: Mapping[str, str] | None = None) -> Plan:
    """Read a plan from TOML.

    Args:
        text: TOML with the attributes of :class:`Plan` at the top level.
        parts: Texts of its further files by name (those of :data:`PARTS`).

    Raises:
        ValueError: A file is not TOML, a key is unknown, or a value has the wrong type or is out of
            range; the message names the file or the key.
    """
    return plan_from(parse_tables(text, parts))


def parse_tables(text: str, parts: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the table that :func:`plan_from` reads, unchecked.

    Args:
        text: As in :func:`parse_plan`.
        parts: As in :func:`parse_plan`.

    Raises:
        ValueError: A file is not TOML, or a table is in two files; the message names it.
    """
    table = _toml(text, "")
    for name, part in (parts or {}).items():
        key = PARTS[name]
        if key in table:
            raise ValueError(f"{key}: is in the plan file and in {name}; keep one of them")
        table[key] = _toml(part, f"{name}: ")
    return table


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def table_of(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data, which :func:`plan_from` accepts.

    Empty tables are left out, so that earlier versions can read it, too.

    Args:
        plan: The plan.
    """
    return {
        name: value
        for name, value in asdict(plan).items()
        if value or name not in _TABLES
    }  # fmt: skip


def plan_from(table: Mapping[str, Any]) -> Plan:
    """Return the plan with the attributes of a table.

    Args:
        table: Attributes of :class:`Plan` by name; the others have their defaults.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type or is out of range; the message
            names the key.
    """
    _check_keys(table)
    for key, value in table.items():
        if key == "currencies":
            if not isinstance(value, dict) or not all(type(v) is int for v in value.values()):
                raise ValueError("currencies: must be a table of ISO code = exponent")
        elif key in _TABLES:
            _check_table(key, value)
        elif key == "model_error_share":
            if type(value) not in (int, float):
                raise ValueError(f"{key}: must be a number, not {quoted(value)}")
        elif type(value) is not int:
            raise ValueError(f"{key}: must be a whole number, not {quoted(value)}")
    if events := table.get("events"):
        table = {"extras": _extras_of(events), **table}
    elif table.get("extras"):
        raise ValueError("extras: need events.toml, which gives their place in a record")
    return Plan(**table)


def _extras_of(events: Mapping[str, Any]) -> dict[str, str]:
    """Return the extra fields that a table of events.toml defines, type by name."""
    try:
        return mapping_of(events).extra_types
    except ValueError as error:
        raise ValueError(f"events: {error}") from error


def _check_keys(table: Mapping[str, Any]) -> None:
    known = {f.name for f in fields(Plan)}
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {quoted(key)}; known are {', '.join(sorted(known))}")


def _check_table(key: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{key}: must be a table, not {quoted(value)}")  # noqa: TRY004 all errors of a plan are ValueErrors
