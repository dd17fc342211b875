"""A command about alarms: its signed form, and whom it is accepted from.

The signed bytes have a prefix that no other kind of signature has. There is no chain: a command
names one event, and a repeated command has no effect.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer import settings
from stream_scorer.core.summaries.summary_reading import milliseconds_of
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import TrustedKey, key_id, read_trusted

KINDS: Final = ("ack", "accept", "snooze")
REASON_MOST: Final = 1_000
"""Maximum number of characters of a reason."""
SNOOZE_MOST_MS: Final = 366 * 86_400_000
"""Longest snooze: from the time at which it is written, and from Kafka time when it is folded."""
_SIGNED: Final = b"stream-scorer drift command 1\n"
_COMMAND = re.compile("[0-9a-f]{32}")
_EVENT = re.compile("[0-9a-f]{16}")
_TIME_MOST: Final = 253_402_300_799_000
"""The end of the year 9999, ms since the epoch."""


def statement(record: Mapping[str, Any]) -> bytes:
    """Return the bytes of a command that are signed.

    Args:
        record: The command; times are in ms.
    """
    signed = {name: value for name, value in record.items() if name != "signature"}
    return _SIGNED + canonical(signed)


def made(
    kind: str, event_id: str, until: int | None, at: int, reason: str,
    key: Ed25519PrivateKey | None,
) -> dict[str, Any]:  # fmt: skip
    """Return a new command.

    Args:
        kind: ``ack``, ``accept`` or ``snooze``.
        event_id: The event; empty for all, with ``snooze`` only.
        until: When a snooze ends, ms.
        at: When it is written, ms.
        reason: Why.
        key: Signs it; None: it is not signed.

    Raises:
        ValueError: It makes no sense; the message says why.
    """
    record: dict[str, Any] = {
        "command_id": secrets.token_hex(16), "kind": kind, "event_id": event_id, "until": until,
        "at": at, "reason": reason, "key_id": "", "signature": b"",
    }  # fmt: skip
    refuse_senseless(record)
    if key is not None:
        record["key_id"] = key_id(key.public_key())
        record["signature"] = key.sign(statement(record))
    return record


def refuse_senseless(record: Mapping[str, Any]) -> None:
    """Refuse a command whose parts do not fit together.

    Args:
        record: The command; times are in ms.

    Raises:
        ValueError: They do not; the message says which.
    """
    kind, event = record["kind"], record["event_id"]
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
    if not _COMMAND.fullmatch(record["command_id"]):
        raise ValueError("a command's id must have 32 hex digits")
    if not _EVENT.fullmatch(event) and (event or kind != "snooze"):
        raise ValueError(f"event {event[:40]!r}: an event's id has 16 hex digits")
    if (record["until"] is None) == (kind == "snooze"):
        raise ValueError("a snooze needs the time of its end, and no other command has one")
    if record["until"] is not None and not 0 <= record["until"] <= _TIME_MOST:
        raise ValueError("a snooze must end before the year 10000")
    if record["until"] is not None and record["until"] - record["at"] > SNOOZE_MOST_MS:
        raise ValueError("a snooze lasts 366 days at most")
    if len(record["reason"]) > REASON_MOST:
        raise ValueError(f"a reason has at most {REASON_MOST} characters")


@dataclass(frozen=True, slots=True)
class DriftAuthority:
    """The keys whose commands are accepted.

    Attributes:
        operators: The operators' keys by key id, without those that are retired.
        required: Whether commands without a signature are refused.
    """

    operators: Mapping[str, TrustedKey] = field(default_factory=dict)
    required: bool = False

    def refuse(self, record: Mapping[str, Any]) -> None:
        """Refuse a command that is senseless, or not from an operator.

        Args:
            record: The command; times are in ms.

        Raises:
            ValueError: It is refused; the message says why.
        """
        refuse_senseless(record)
        if not record["key_id"]:
            if self.required:
                raise ValueError("is not signed")
            if record["signature"]:
                raise ValueError("has a signature and names no key")
            return
        trusted = self.operators.get(record["key_id"])
        if trusted is None:
            raise ValueError(f"is signed by an unknown or retired key, {record['key_id'][:64]}")
        try:
            trusted.key.verify(record["signature"], statement(record))
        except InvalidSignature:
            raise ValueError(f"has no valid signature by {trusted.name}") from None


def authority(rollout: settings.Rollout) -> DriftAuthority:
    """Return the keys that the settings accept: the operators' of rollouts.

    A retired key is not accepted at all: the number until which it counts is one of the control
    log.

    Raises:
        SettingsError: A key cannot be read, or is listed under two names.
    """
    keys = read_trusted(rollout.operator_keys, "rollout.operator_keys")
    return DriftAuthority(
        {number: key for number, key in keys.items() if key.name not in rollout.retired_keys},
        rollout.require_signature,
    )


def in_milliseconds(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decoded command with its times in ms."""
    until = record["until"]
    return {
        **record, "at": milliseconds_of(record["at"]),
        "until": None if until is None else milliseconds_of(until),
    }  # fmt: skip
