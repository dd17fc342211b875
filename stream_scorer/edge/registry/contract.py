"""What operators say of a device and of a release: the bodies of registrations."""

import base64
import binascii
from typing import Annotated, Final, Self

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, field_validator, model_validator

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.edge.claims.contract import SEQUENCE_MOST
from stream_scorer.edge.claims.verify import AllowedDevice, AllowedRelease, DeviceKey
from stream_scorer.rollout.plan.strict_parsing import Body, StrictModel

KEYS_MOST: Final = 4
CUSTOMERS_MOST: Final = 50_000
"""So many hashes fit into one record."""
TERMINALS_MOST: Final = 1_000
_PUBLIC_BYTES: Final = 32
_HASH_BYTES: Final = 8
DeviceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Sequence64 = Annotated[int, Field(ge=0, le=SEQUENCE_MOST)]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None


class RegisteredKey(StrictModel):
    """A key of a device.

    Attributes:
        public: The Ed25519 public key, base64 of 32 bytes.
        from_sequence: The first row that it signs.
    """

    public: str
    from_sequence: Annotated[int, Field(ge=1, le=SEQUENCE_MOST)] = 1

    @field_validator("public")
    @classmethod
    def _be_a_key(cls, public: str) -> str:
        if len(_decoded(public)) != _PUBLIC_BYTES:
            raise ValueError("is not a key of 32 bytes")
        return public


class DeviceRegistration(Body):
    """A device that operators allow, and what.

    Attributes:
        device: Its name.
        keys: Its keys, by the first row that each one signs, ascending.
        sealing: The X25519 public key to which state is sealed, base64; empty: none.
        customers: Hashes of the customers for which it may decide, as sorted little-endian uint64
            in base64; empty: any customer.
        terminals: Terminals at which it may decide; empty: any.
        revoked_after: Rows with a higher number are refused; None: it is not revoked.
    """

    device: DeviceName
    keys: Annotated[tuple[RegisteredKey, ...], Field(min_length=1, max_length=KEYS_MOST)]
    sealing: str = ""
    customers: Annotated[str, Field(max_length=CUSTOMERS_MOST * 11)] = ""
    terminals: Annotated[tuple[str, ...], Field(max_length=TERMINALS_MOST)] = ()
    revoked_after: Sequence64 | None = None

    @field_validator("customers")
    @classmethod
    def _be_hashes(cls, customers: str) -> str:
        data = _decoded(customers)
        if len(data) % _HASH_BYTES or len(data) > CUSTOMERS_MOST * _HASH_BYTES:
            raise ValueError(f"are not at most {CUSTOMERS_MOST} hashes of 8 bytes")
        return customers

    @model_validator(mode="after")
    def _follow_each_other(self) -> Self:
        first = [key.from_sequence for key in self.keys]
        if first[0] != 1 or sorted(set(first)) != first:
            raise ValueError("keys: must begin at row 1, each after the one before")
        return self

    def allowed(self) -> AllowedDevice:
        """Return what a scorer needs of it."""
        terminals = hashes_of(pa.array(self.terminals, pa.string()))
        return AllowedDevice(
            tuple(
                DeviceKey(
                    Ed25519PublicKey.from_public_bytes(_decoded(key.public)), key.from_sequence
                )
                for key in self.keys
            ),
            frozenset(np.frombuffer(_decoded(self.customers), "<u8").tolist()),
            frozenset(terminals.tolist()),
            self.revoked_after,
        )


def packed_customers(customers: list[str]) -> str:
    """Return the ``customers`` of a registration for their ids.

    A hash can be shared by an id that someone makes up, never by the id of a given customer.
    """
    hashes = np.unique(hashes_of(pa.array(customers, pa.string())))
    return base64.b64encode(hashes.astype("<u8").tobytes()).decode()


class ReleaseRegistration(Body):
    """A bundle that devices may decide with.

    Attributes:
        label: ``NAME:VERSION``.
        content_hash: SHA-256 of its content, 64 hex digits.
        engine: Version of the meaning of its features.
        features: How many it has.
    """

    label: Annotated[str, Field(pattern=r"^[^:\s]{1,128}:[^:\s]{1,128}$")]
    content_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    engine: Annotated[int, Field(ge=1, le=1_000)]
    features: Annotated[int, Field(ge=1, le=4_096)]

    def allowed(self) -> AllowedRelease:
        """Return what a scorer needs of it."""
        return AllowedRelease(bytes.fromhex(self.content_hash), self.engine, self.features)
