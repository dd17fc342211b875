"""What a device sends back: its rows, the decision in each, and up to which row they are published.

A row is a transaction that a device decided. Rows have numbers from 1 without gaps. Each row has
the hash of all rows before it, so that a copied or restored device is noticed, and the device's
signature.
"""

import re
from dataclasses import dataclass
from typing import Final

from stream_scorer.core.events.batch import Outcome

CHAIN_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
DECISION_BYTES_MOST: Final = 16_384
"""Maximum bytes of a device's decision, as it is in the header of a record."""
SEQUENCE_MOST: Final = 2**63 - 1
NO_CHAIN: Final = bytes(CHAIN_BYTES)
"""The hash before the first row."""
_DEVICE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_device_name(name: str) -> bool:
    """Whether a device can have this name: 1 to 64 of ``A-Z a-z 0-9 . _ -``."""
    return _DEVICE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """A transaction that a device decided, as the device signed it.

    Attributes:
        sequence: Its number on the device, from 1.
        key: The key that a producer gives the transaction's record.
        value: The value of that record: framed Avro.
        decision: The device's decision, an ``edge-decision.v1``; see ``decision_record``.
        previous: The chain before this row, 32 bytes.
        signature: Ed25519 over the chain after this row, 64 bytes.
    """

    sequence: int
    key: bytes
    value: bytes
    decision: bytes
    previous: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class EdgeDecision:
    """What a device decided for one transaction.

    Attributes:
        transaction_id: The transaction.
        model: Name of the deciding model.
        version: Its version.
        content_hash: SHA-256 of the bundle's content, 32 bytes.
        engine: Version of the meaning of the features.
        plan_sha256: SHA-256 of the device's plan, 32 bytes.
        plan_revision: Revision of that plan.
        margin: The model's raw score; NaN where it failed.
        score: Probability of fraud, 0 to 1; NaN where the model failed.
        outcome: The outcome that the device gave.
        model_outcome: The outcome by the model's own thresholds; None where the model failed.
        flags: Bits of ``Flag``: DEGRADED and CAPPED only.
        reasons: Reason codes, largest contribution first.
        features: The model's features in manifest order, as little-endian float64.
        terminal_watermark: Newest time of terminal rows that could be used, ms; None for none.
        decided_at: When it was decided, ms since the epoch.
    """

    transaction_id: str
    model: str
    version: str
    content_hash: bytes
    engine: int
    plan_sha256: bytes
    plan_revision: int
    margin: float
    score: float
    outcome: Outcome
    model_outcome: Outcome | None
    flags: int
    reasons: tuple[str, ...]
    features: bytes
    terminal_watermark: int | None
    decided_at: int

    @property
    def release(self) -> str:
        """``NAME:VERSION`` of the deciding bundle."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class EdgeProgress:
    """Up to which row a device's rows are published.

    Attributes:
        sequence: Number of the last published row; 0 before the first.
        chain: The device's chain after that row, 32 bytes.
    """

    sequence: int = 0
    chain: bytes = NO_CHAIN


@dataclass(frozen=True, slots=True)
class PublishedRows:
    """The result of an upload.

    Attributes:
        progress: Up to which row the device's rows are published now; it may forget these.
        published: Rows that this upload published.
        repeated: Rows that were published before.
    """

    progress: EdgeProgress
    published: int
    repeated: int
