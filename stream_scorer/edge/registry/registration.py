"""One record of the registry of devices: a registration and its signature.

The signed bytes have a prefix that no other kind of signature has, and the number of the
registration. So only an operator can allow a device, and a process that has read a registration
takes no older one in its place. The topic keeps all registrations, and a process that starts reads
all of them. If it were compacted, an older registration that is sent again would delete the newer
one, such as a revocation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.registry.contract import DeviceRegistration, ReleaseRegistration
from stream_scorer.rollout.plan.strict_parsing import read
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import TrustedKey, key_id

DEVICE: Final = "device"
RELEASE: Final = "release"
BODY_BYTES_MOST: Final = 900_000
_SIGNED: Final = b"stream-scorer edge registration 1\n"
Registration = DeviceRegistration | ReleaseRegistration


@dataclass(frozen=True, slots=True)
class RegistrationRecord:
    """A registration as it is in the topic.

    Attributes:
        kind: ``device`` or ``release``.
        name: The device, or ``NAME:VERSION``.
        number: Its number among those of its kind and name, from 1.
        at: When it was written, ms since the epoch, by its writer's clock.
        key_id: Id of the operator's key.
        body: Canonical JSON.
        signature: 64 bytes.
    """

    kind: str
    name: str
    number: int
    at: int
    key_id: str
    body: str
    signature: bytes = b""

    @property
    def key(self) -> bytes:
        """The record's key."""
        return f"{self.kind}:{self.name}".encode()

    @property
    def statement(self) -> bytes:
        """The bytes that are signed."""
        told = asdict(self)
        del told["signature"]
        return _SIGNED + canonical(told)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the record of decoded fields; times are datetimes."""
        return cls(**{**fields, "at": round(fields["at"].timestamp() * 1_000)})

    def registration(self, trusted: Mapping[str, TrustedKey]) -> Registration:
        """Return what it says.

        Args:
            trusted: The operators' keys by key id.

        Raises:
            ValueError: No operator signed it, or it is not what it should be; the message says
                which.
        """
        operator = trusted.get(self.key_id)
        if operator is None:
            raise ValueError(f"is signed by an unknown key, {self.key_id[:64]}")
        try:
            operator.key.verify(self.signature, self.statement)
        except InvalidSignature:
            raise ValueError(f"has no valid signature by {operator.name}") from None
        if len(self.body) > BODY_BYTES_MOST:
            raise ValueError(f"has a body of more than {BODY_BYTES_MOST} bytes")
        data = self.body.encode()
        found: Registration
        if self.kind == DEVICE:
            found = read(DeviceRegistration, data)
            name = found.device
        elif self.kind == RELEASE:
            found = read(ReleaseRegistration, data)
            name = found.label
        else:
            raise ValueError(f"is of an unknown kind, {self.kind[:64]}")
        if name != self.name or self.number < 1:
            raise ValueError("does not name what its body is about")
        return found


def registered(
    registration: Registration, number: int, at: int, operator: Ed25519PrivateKey
) -> RegistrationRecord:
    """Return a new signed record.

    Args:
        registration: What it says.
        number: One more than that of the newest one of the same kind and name.
        at: ms since the epoch.
        operator: The key that signs it.
    """
    kind, name = RELEASE, ""
    if isinstance(registration, DeviceRegistration):
        kind, name = DEVICE, registration.device
    else:
        name = registration.label
    body = canonical(registration.model_dump(mode="json")).decode()
    signer = key_id(operator.public_key())
    unsigned = RegistrationRecord(kind, name, number, at, signer, body)
    return replace(unsigned, signature=operator.sign(unsigned.statement))
