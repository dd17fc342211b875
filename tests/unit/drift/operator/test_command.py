"""A command is signed in all of its parts, and makes sense."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stream_scorer.drift.operator.command import (
    REASON_MOST,
    DriftAuthority,
    authority,
    in_milliseconds,
    made,
    statement,
)
from stream_scorer.security.keys import TrustedKey, key_id
from stream_scorer.settings import Rollout
from tests.support.drift.monitors import COMMAND, FILES

EVENT = "0123456789abcdef"
KEY = Ed25519PrivateKey.generate()
KEYS = {
    "risk": KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
}
OPERATORS = DriftAuthority(
    {key_id(KEY.public_key()): TrustedKey("risk", KEY.public_key())}, required=True
)


def command(**changed: Any) -> dict[str, Any]:
    return made("snooze", EVENT, 5_000, 1_000, "seen", KEY) | changed


def test_a_signed_command_survives_its_topic() -> None:
    record = command()
    read = in_milliseconds(COMMAND.decode(COMMAND.encode(record), FILES))
    assert read == record
    OPERATORS.refuse(read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_id", "f" * 16), ("until", 6_000), ("at", 2), ("reason", "other"),
        ("command_id", "0" * 32), ("signature", bytes(64)),
    ],
)  # fmt: skip
def test_no_part_can_be_changed(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="no valid signature by risk"):
        OPERATORS.refuse(command(**{name: value}))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"key_id": "", "signature": b""}, "is not signed"),
        ({"key_id": "ab" * 16}, "unknown or retired key"),
        ({"kind": "delete"}, "unknown kind"),
        ({"kind": "ack"}, "a snooze needs"),
        ({"kind": "ack", "until": None, "event_id": ""}, "16 hex digits"),
        ({"event_id": "no id"}, "16 hex digits"),
        ({"until": None}, "a snooze needs"),
        ({"until": -1}, "before the year"),
        ({"until": 2**62}, "before the year"),
        ({"until": 1_000 + 367 * 86_400_000}, "366 days at most"),
        ({"kind": "accept", "until": None, "event_id": EVENT + "0"}, "16 hex digits"),
        ({"reason": "x" * 1_001}, "at most 1000"),
        ({"command_id": "x" * 32}, "32 hex digits"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        OPERATORS.refuse(command(**changed))


def test_an_unsigned_command_counts_where_none_is_required() -> None:
    record = made("ack", EVENT, None, 1, "", None)
    DriftAuthority().refuse(record)
    with pytest.raises(ValueError, match="names no key"):
        DriftAuthority().refuse(record | {"signature": b"x"})


def test_the_longest_reason_is_of_a_thousand_characters() -> None:
    assert made("ack", EVENT, None, 1, "x" * REASON_MOST, None)["reason"]
    with pytest.raises(ValueError, match="at most 1000 characters"):
        made("ack", EVENT, None, 1, "x" * (REASON_MOST + 1), None)
    assert REASON_MOST == 1_000


def test_a_retired_key_is_not_accepted() -> None:
    authority(Rollout(operator_keys=KEYS, require_signature=True)).refuse(command())
    retired = Rollout(operator_keys=KEYS, retired_keys={"risk": 5}, require_signature=True)
    with pytest.raises(ValueError, match="unknown or retired key"):
        authority(retired).refuse(command())


def test_unsigned_commands_are_refused_if_the_settings_say_so() -> None:
    record = made("ack", EVENT, None, 1, "", None)
    authority(Rollout(operator_keys=KEYS)).refuse(record)
    with pytest.raises(ValueError, match="is not signed"):
        authority(Rollout(operator_keys=KEYS, require_signature=True)).refuse(record)


def test_the_signed_bytes_are_of_this_use_only() -> None:
    record = command()
    assert statement(record).startswith(b"stream-scorer drift command 1\n{")
    assert b"signature" not in statement(record)


def test_each_command_has_its_own_id() -> None:
    assert command()["command_id"] != command()["command_id"]
