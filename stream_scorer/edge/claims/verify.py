"""Whether a device's rows are accepted: its registration, its signature, its release.

No transport is trusted: a scorer verifies each row itself. Everything is refused that operators
have not allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from numpy.typing import NDArray

from stream_scorer.core.events.batch import NO_OUTCOME, EventBatch
from stream_scorer.core.events.given import Float64, GivenDecisions, GivenVersion, Int64
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.edge.claims.chain import is_signed
from stream_scorer.edge.claims.contract import EdgeDecision
from stream_scorer.edge.claims.headers import EdgeRows

UNKNOWN_DEVICE: Final = "unknown_device"
REVOKED: Final = "revoked"
SIGNATURE: Final = "signature"
RELEASE: Final = "release"
SCOPE: Final = "scope"
TRANSACTION: Final = "transaction"
_DOUBLE: Final = 8


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device's key, and the row from which on it signs."""

    key: Ed25519PublicKey
    from_sequence: int


@dataclass(frozen=True, slots=True)
class AllowedDevice:
    """What operators allow a device.

    Attributes:
        keys: Its keys, by the row from which on each one signs, ascending.
        customers: Hashes of the customers for which it may decide; empty: any.
        terminals: Hashes of the terminals at which it may decide; empty: any.
        revoked_after: Rows with a higher number are refused; None: it is not revoked.
    """

    keys: tuple[DeviceKey, ...]
    customers: frozenset[int] = frozenset()
    terminals: frozenset[int] = frozenset()
    revoked_after: int | None = None

    def key_of(self, sequence: int) -> Ed25519PublicKey | None:
        """Return the key that signs a row; None if the device has none for it."""
        valid = [each.key for each in self.keys if each.from_sequence <= sequence]
        return valid[-1] if valid else None


@dataclass(frozen=True, slots=True)
class AllowedRelease:
    """A bundle that devices may decide with.

    Attributes:
        content_hash: SHA-256 of its content, 32 bytes.
        engine: Version of the meaning of its features.
        features: How many it has.
    """

    content_hash: bytes
    engine: int
    features: int


class AllowedAtEdge(Protocol):
    """Returns what operators allow."""

    def device(self, name: str) -> AllowedDevice | None:
        """Return a device; None if it is unknown."""
        ...

    def release(self, label: str) -> AllowedRelease | None:
        """Return a release by ``NAME:VERSION``; None if it is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class EdgeClaims:
    """The verified rows of a batch of records.

    Attributes:
        given: The devices' decisions; ``row`` is the row in the batch of records.
        device: int32[k], index in ``devices``.
        sequence: int64[k], the numbers of the rows on their devices.
        devices: The devices.
        transactions: k ids of the transactions that were decided.
        allowed: What each device of ``devices`` is allowed.
    """

    given: GivenDecisions
    device: NDArray[np.int32]
    sequence: Int64
    devices: tuple[str, ...]
    transactions: tuple[str, ...]
    allowed: tuple[AllowedDevice, ...]

    def __len__(self) -> int:
        return len(self.given)

    def misplaced(self, events: EventBatch, rows: Int64) -> Mapping[int, str]:
        """Return the verified rows whose transaction is not one that the device may decide.

        Args:
            events: n decoded transactions.
            rows: int64[n], their rows in the batch of records.

        Returns:
            The reason of each by its row in ``events``.
        """
        place = {int(row): at for at, row in enumerate(rows.tolist())}
        ids = events.records.column("transaction_id")
        customers, terminals = events.hashes("customer_id"), events.hashes("terminal_id")
        found: dict[int, str] = {}
        for at, row in enumerate(self.given.row.tolist()):
            event = place.get(row)
            if event is None:
                continue
            allowed = self.allowed[int(self.device[at])]
            if ids[event].as_py() != self.transactions[at]:
                found[event] = TRANSACTION
            elif (allowed.customers and int(customers[event]) not in allowed.customers) or (
                allowed.terminals and int(terminals[event]) not in allowed.terminals
            ):
                found[event] = SCOPE
        return found


def verified(rows: EdgeRows, registry: AllowedAtEdge) -> tuple[EdgeClaims, Mapping[int, str]]:
    """Return the rows that are accepted as far as the record tells, and the refused ones.

    Args:
        rows: Well-formed rows.
        registry: What operators allow.

    Returns:
        (the accepted rows, the reason of each refused one by its row).
    """
    refused: dict[int, str] = {}
    good: list[int] = []
    known: dict[str, AllowedDevice] = {}
    for at, row in enumerate(rows.row):
        why = _refusal(rows, at, registry, known)
        if why:
            refused[row] = why
        else:
            good.append(at)
    devices = tuple(dict.fromkeys(rows.device[at] for at in good))
    index = {device: number for number, device in enumerate(devices)}
    return (
        EdgeClaims(
            _given([rows.row[at] for at in good], [rows.decisions[at] for at in good]),
            np.array([index[rows.device[at]] for at in good], np.int32),
            np.array([rows.rows[at].sequence for at in good], np.int64),
            devices,
            tuple(rows.decisions[at].transaction_id for at in good),
            tuple(known[device] for device in devices),
        ),
        refused,
    )


def _refusal(
    rows: EdgeRows, at: int, registry: AllowedAtEdge, known: dict[str, AllowedDevice]
) -> str:
    """Return why a row is refused; empty if it is not."""
    name, row, decision = rows.device[at], rows.rows[at], rows.decisions[at]
    device = known.get(name) or registry.device(name)
    if device is None:
        return UNKNOWN_DEVICE
    known[name] = device
    if device.revoked_after is not None and row.sequence > device.revoked_after:
        return REVOKED
    key = device.key_of(row.sequence)
    if key is None or not is_signed(row, name, key):
        return SIGNATURE
    release = registry.release(decision.release)
    told = AllowedRelease(
        decision.content_hash, decision.engine, len(decision.features) // _DOUBLE
    )  # fmt: skip
    return "" if release == told else RELEASE


def _given(rows: Sequence[int], decisions: Sequence[EdgeDecision]) -> GivenDecisions:
    makers: dict[GivenVersion, int] = {}
    maker = [
        makers.setdefault(
            GivenVersion(d.model, d.version, d.engine, len(d.features) // _DOUBLE), len(makers)
        )
        for d in decisions
    ]
    tables: list[Float64] = [
        np.frombuffer(
            b"".join(d.features for d, own in zip(decisions, maker, strict=True) if own == number),
            "<f8",
        ).reshape(-1, version.features).astype(np.float64)
        for version, number in makers.items()
    ]  # fmt: skip
    own = [NO_OUTCOME if d.model_outcome is None else d.model_outcome for d in decisions]
    times = [NEVER if d.terminal_watermark is None else d.terminal_watermark for d in decisions]
    return GivenDecisions(
        np.array(rows, np.int64),
        np.array(maker, np.int32),
        tuple(makers),
        np.array([d.score for d in decisions], np.float64),
        np.array([d.outcome for d in decisions], np.uint8),
        np.array(own, np.uint8),
        np.array([d.flags for d in decisions], np.uint8),
        np.array(times, np.int64),
        tuple(tables),
        {row: d.reasons for row, d in zip(rows, decisions, strict=True) if d.reasons},
    )
