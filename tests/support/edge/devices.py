"""Devices as a scorer and a gateway see them: keys, chained rows, and what operators allow."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.batch import Outcome
from stream_scorer.edge.claims.chain import signed_row
from stream_scorer.edge.claims.contract import NO_CHAIN, EdgeDecision, EdgeRow
from stream_scorer.edge.claims.decision_record import encode_decision
from stream_scorer.edge.claims.headers import headers_of
from stream_scorer.edge.claims.verify import AllowedDevice, AllowedRelease, DeviceKey
from stream_scorer.ports import BytesColumn, Headers, RawRecords

RELEASE = AllowedRelease(bytes(range(32)), 3, 3)
LABEL = "fraud:9.0.0"
NOW = 1_522_600_000_000


def decision_of(transaction: str, **changes: Any) -> EdgeDecision:
    """Return a device's decision of the release that :class:`Allowed` knows."""
    made = EdgeDecision(
        transaction_id=transaction, model="fraud", version="9.0.0",
        content_hash=RELEASE.content_hash, engine=RELEASE.engine, plan_sha256=bytes(32),
        plan_revision=0, margin=2.0, score=0.875, outcome=Outcome.REVIEW,
        model_outcome=Outcome.BLOCK, flags=0, reasons=("amount", "night"),
        features=np.array([1.5, -0.0, np.nan]).astype("<f8").tobytes(), terminal_watermark=None,
        decided_at=NOW,
    )  # fmt: skip
    return replace(made, **changes)


@dataclass
class MadeDevice:
    """A device that signs rows, one after the other."""

    name: str = "till-17"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    sequence: int = 0
    chain: bytes = NO_CHAIN

    def row(self, value: bytes, decision: EdgeDecision, key: bytes = b"c1") -> EdgeRow:
        """Return the next row."""
        self.sequence += 1
        row, self.chain = signed_row(
            self.name, self.sequence, key, value, encode_decision(decision), self.chain, self.key
        )
        return row

    def rows(self, count: int) -> list[EdgeRow]:
        """Return the next rows, with values that no scorer reads."""
        return [
            self.row(b"value %d" % n, decision_of(f"t{n}"), b"c%d" % (n % 5))
            for n in range(self.sequence + 1, self.sequence + count + 1)
        ]

    def allowed(self, **changes: Any) -> AllowedDevice:
        """Return its registration."""
        return replace(AllowedDevice((DeviceKey(self.key.public_key(), 1),)), **changes)


@dataclass
class Allowed:
    """What operators allow, without a topic."""

    devices: dict[str, AllowedDevice] = field(default_factory=dict)
    releases: dict[str, AllowedRelease] = field(default_factory=lambda: {LABEL: RELEASE})
    followed: int = 0

    def device(self, name: str) -> AllowedDevice | None:
        """Return a device."""
        return self.devices.get(name)

    def release(self, label: str) -> AllowedRelease | None:
        """Return a release."""
        return self.releases.get(label)

    def follow(self) -> None:
        """Count the calls."""
        self.followed += 1


def records_of(
    rows: list[tuple[str, EdgeRow] | tuple[bytes, bytes]], headers: dict[int, Headers] | None = None
) -> RawRecords:
    """Return records of the input: devices' rows, and others as (key, value).

    Args:
        rows: In order.
        headers: Headers by row, instead of the device's.
    """
    keys = [row.key if isinstance(row, EdgeRow) else name for name, row in rows]
    values = [row.value if isinstance(row, EdgeRow) else row for _, row in rows]
    told: list[Headers] = [
        headers_of(str(name), row) if isinstance(row, EdgeRow) else None for name, row in rows
    ]
    for row, other in (headers or {}).items():
        told[row] = other
    n = len(rows)
    return RawRecords(
        BytesColumn.of(values), BytesColumn.of(k if isinstance(k, bytes) else k.encode()
        for k in keys), told, np.zeros(n, np.int32), np.arange(100, 100 + n, dtype=np.int64),
        np.full(n, NOW, np.int64),
    )  # fmt: skip
