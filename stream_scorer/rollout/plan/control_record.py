"""One record of the control log: a command, its position in the log, and its signer.

The signed bytes are a prefix that no other kind of signature has, the sequence number, the hash of
the previous accepted record, kind, time, key and body. So a record is valid at one position of one
log only, and no part of it can be changed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer import settings
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import TrustedKey, key_id, read_trusted

BEGINNING = bytes(32)
"""The hash that the first record has in place of a previous record's."""

BODY_BYTES_MOST = 512 * 1024
_SIGNED = b"stream-scorer rollout command 1\n"
"""Prefix of the signed bytes, so that no signature is valid for two kinds of documents."""


@dataclass(frozen=True, slots=True)
class Command:
    """One record of the log.

    Attributes:
        sequence: Its number among the accepted commands, from 1.
        previous: sha256 of the accepted record before it.
        kind: A value of ``CommandKind``; any other one is a newer version's.
        at: When it was written, ms since the epoch, by its writer's clock.
        key_id: Id of the key that signed it; empty if it is not signed.
        body: Canonical JSON.
        signature: 64 bytes; empty if it is not signed.
    """

    sequence: int
    previous: bytes
    kind: str
    at: int
    key_id: str
    body: str
    signature: bytes = b""

    @property
    def statement(self) -> bytes:
        """The bytes that are signed."""
        return _SIGNED + canonical({
            "sequence": self.sequence, "previous": self.previous.hex(), "kind": self.kind,
            "at": self.at, "key_id": self.key_id, "body": self.body,
        })  # fmt: skip

    @property
    def hash(self) -> bytes:
        """The sha256 that the next record has as ``previous``."""
        return hashlib.sha256(self.statement + self.signature).digest()


def write(
    sequence: int,
    previous: bytes,
    kind: CommandKind,
    body: StrictModel,
    at: int,
    key: Ed25519PrivateKey | None,
) -> Command:
    """Return a command for a position in the log.

    Args:
        sequence: The number of the last accepted record, plus 1.
        previous: That record's hash.
        kind: Kind of the command.
        body: Its body.
        at: ms since the epoch.
        key: Signs the command; None: it is not signed.
    """
    text = canonical(body.model_dump(mode="json")).decode()
    signer = "" if key is None else key_id(key.public_key())
    unsigned = Command(sequence, previous, kind.value, at, signer, text)
    return unsigned if key is None else replace(unsigned, signature=key.sign(unsigned.statement))


@dataclass(frozen=True, slots=True)
class CommandSigner:
    """The signer of a command.

    Attributes:
        key_id: Id of the key; empty if nothing is signed.
        name: An operator's name in the settings; ``controller`` for the plan's controller;
            ``trainer`` for the key of a grant.
        role: ``operator``; or ``controller`` or ``trainer``, for whom limits hold.
    """

    key_id: str
    name: str
    role: Literal["operator", "controller", "trainer"]

    @property
    def operator(self) -> bool:
        """Whether it is an operator, for whom no limits hold."""
        return self.role == "operator"


NOBODY = CommandSigner("", "nobody", "operator")
"""The signer of commands that are not signed, where signatures are not required."""


_NO_KEYS: Mapping[str, TrustedKey] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Authority:
    """The keys whose commands are accepted.

    All readers of a log need the same ones: with other keys they would accept other commands.

    Attributes:
        operators: The operators' keys by key id.
        retired: By key id, the last sequence number that an operator's retired key may have signed.
        required: Whether commands without a signature are refused.
    """

    operators: Mapping[str, TrustedKey] = field(default_factory=dict)
    retired: Mapping[str, int] = field(default_factory=dict)
    required: bool = False

    def signer(
        self,
        command: Command,
        controller: TrustedKey | None,
        trainers: Mapping[str, TrustedKey] = _NO_KEYS,
    ) -> CommandSigner:
        """Verify a command's signature, and return the signer.

        Args:
            command: The command.
            controller: Key of the plan's controller; None if it has none.
            trainers: By key id, the keys of the grants.

        Raises:
            ValueError: The signature is missing although it is required, or is not the key's; or
                the key is missing, unknown or was retired before.
        """
        if not command.key_id:
            if self.required:
                raise ValueError("is not signed")
            if command.signature:
                raise ValueError("has a signature and names no key")
            return NOBODY
        trusted = self.operators.get(command.key_id)
        role: Literal["operator", "controller", "trainer"] = "operator"
        if trusted is None and controller and key_id(controller.key) == command.key_id:
            trusted, role = controller, "controller"
        if trusted is None:
            trusted, role = trainers.get(command.key_id), "trainer"
        if trusted is None:
            raise ValueError(f"is signed by an unknown key, {command.key_id}")
        signer = CommandSigner(command.key_id, trusted.name, role)
        try:
            trusted.key.verify(command.signature, command.statement)
        except InvalidSignature:
            raise ValueError(
                f"has no valid signature by {signer.name} (key {command.key_id})"
            ) from None
        last = self.retired.get(command.key_id)
        if last is not None and command.sequence > last:
            raise ValueError(f"is signed by the key of {signer.name}, retired after number {last}")
        return signer


def authority_of(rollout: settings.Rollout) -> Authority:
    """Return the keys that the settings accept; reads the key files.

    Raises:
        SettingsError: A key cannot be read, or is listed under two names.
    """
    keys = read_trusted(rollout.operator_keys, "rollout.operator_keys")
    retired = {
        number: rollout.retired_keys[key.name]
        for number, key in keys.items()
        if key.name in rollout.retired_keys
    }
    return Authority(keys, retired, rollout.require_signature)
