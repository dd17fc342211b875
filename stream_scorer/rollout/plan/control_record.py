"""One record of the control log: a command, where it stands in the log, and who signed it.

The signature is over the sequence number, the hash of the accepted record before it, kind, time,
key and body, behind words that no other signature of ours begins with. So a record fits one place
of one log, and nothing in it can be changed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer import settings
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import TrustedKey, key_id, read_trusted

BEGINNING = bytes(32)
"""What stands for the record before the first."""

BODY_BYTES_MOST = 512 * 1024
_SIGNED = b"stream-scorer rollout command 1\n"
"""Stands before what is signed, so that no signature of ours passes for one of something else."""


@dataclass(frozen=True, slots=True)
class Command:
    """One record of the log.

    Attributes:
        sequence: Its number among the accepted ones, from 1.
        previous: sha256 of the accepted record before it.
        kind: One of ``commands.Kind``; another one is a later program's.
        at: When it was written, ms since the epoch, by its writer's clock.
        key_id: Of the key that signed it; empty for one that nobody signed.
        body: Canonical JSON.
        signature: 64 bytes; empty for one that nobody signed.
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
        """The sha256 by which the next record names this one."""
        return hashlib.sha256(self.statement + self.signature).digest()


def write(
    sequence: int,
    previous: bytes,
    kind: CommandKind,
    body: StrictModel,
    at: int,
    key: Ed25519PrivateKey | None,
) -> Command:
    """Return a command for a place in the log.

    Args:
        sequence: The number behind that of the last accepted record.
        previous: That record's hash.
        kind: What it does.
        body: Of that kind.
        at: ms since the epoch.
        key: Whose signature it bears; None for none.
    """
    text = canonical(body.model_dump(mode="json")).decode()
    signer = "" if key is None else key_id(key.public_key())
    unsigned = Command(sequence, previous, kind.value, at, signer, text)
    return unsigned if key is None else replace(unsigned, signature=key.sign(unsigned.statement))


@dataclass(frozen=True, slots=True)
class CommandSigner:
    """Who wrote a command.

    Attributes:
        key_id: Of the key; empty for nobody.
        name: As the settings call an operator; ``controller`` for the plan's.
        operator: Whether the plan's limits are not for it.
    """

    key_id: str
    name: str
    operator: bool


NOBODY = CommandSigner("", "nobody", operator=True)
"""Who signs nothing, where nothing need be signed."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Whose commands count; the same for all readers of a log, or they read it differently.

    Attributes:
        operators: By key id.
        retired: By key id, the last number that an operator's key may have signed.
        required: Whether a command that nobody signed is refused.
    """

    operators: Mapping[str, TrustedKey] = field(default_factory=dict)
    retired: Mapping[str, int] = field(default_factory=dict)
    required: bool = False

    def signer(self, command: Command, controller: TrustedKey | None) -> CommandSigner:
        """Return who wrote a command, its signature being verified.

        Args:
            command: Any.
            controller: The key that the plan names.

        Raises:
            ValueError: Nobody, where there must be a signature; an unknown key; a signature that
                is not that key's; or a key that was retired before.
        """
        if not command.key_id:
            if self.required:
                raise ValueError("is not signed")
            if command.signature:
                raise ValueError("has a signature and names no key")
            return NOBODY
        trusted = self.operators.get(command.key_id)
        signer = CommandSigner(command.key_id, trusted.name, operator=True) if trusted else None
        if trusted is None and controller and key_id(controller.key) == command.key_id:
            trusted, signer = (
                controller,
                CommandSigner(command.key_id, controller.name, operator=False),
            )
        if trusted is None or signer is None:
            raise ValueError(f"is signed by an unknown key, {command.key_id}")
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
    """Return whose commands the settings let count; reads the key files.

    Raises:
        SettingsError: A key cannot be read, or stands there under two names.
    """
    keys = read_trusted(rollout.operator_keys, "rollout.operator_keys")
    retired = {
        number: rollout.retired_keys[key.name]
        for number, key in keys.items()
        if key.name in rollout.retired_keys
    }
    return Authority(keys, retired, rollout.require_signature)
