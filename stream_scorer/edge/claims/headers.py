"""A device's row as a record of the transactions topic: its headers, and back."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.edge.claims.contract import (
    CHAIN_BYTES,
    DECISION_BYTES_MOST,
    SEQUENCE_MOST,
    SIGNATURE_BYTES,
    EdgeDecision,
    EdgeRow,
    is_device_name,
)
from stream_scorer.edge.claims.decision_record import EdgeClaimError, decode_decision
from stream_scorer.ports import (
    EDGE_DECISION,
    EDGE_DEVICE,
    EDGE_DIGEST,
    EDGE_HEADERS,
    EDGE_PREVIOUS,
    EDGE_SEQUENCE,
    EDGE_SIGNATURE,
    Headers,
    RawRecords,
)

MALFORMED: Final = "malformed"
_DIGITS_MOST: Final = 19
_NAMES: Final = frozenset(EDGE_HEADERS)


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """The k rows of a batch that claim a device's decision, not verified.

    Attributes:
        row: k row numbers in the batch, ascending.
        device: The device that each one names.
        rows: Each as the device signed it.
        decisions: The decision in each.
    """

    row: tuple[int, ...]
    device: tuple[str, ...]
    rows: tuple[EdgeRow, ...]
    decisions: tuple[EdgeDecision, ...]

    def __len__(self) -> int:
        return len(self.row)


def headers_of(device: str, row: EdgeRow) -> list[tuple[str, bytes | None]]:
    """Return the headers of a row's record in the transactions topic."""
    return [
        (EDGE_DEVICE, device.encode()),
        (EDGE_SEQUENCE, b"%d" % row.sequence),
        (EDGE_PREVIOUS, row.previous),
        (EDGE_DECISION, row.decision),
        (EDGE_DIGEST, hashlib.sha256(row.decision).digest()),
        (EDGE_SIGNATURE, row.signature),
    ]


def claiming(headers: Sequence[Headers] | None) -> list[int]:
    """Return the rows of a batch that have a header of a device, whatever is in it.

    A batch without any is recognized by the names of all of its headers: that costs it some 30 ns a
    header, and nothing where it has no headers at all.
    """
    if headers is None or _NAMES.isdisjoint({name for own in headers if own for name, _ in own}):
        return []
    return [
        row
        for row, own in enumerate(headers)
        if own and any(name in _NAMES for name, _ in own)
    ]  # fmt: skip


def claimed(raw: RawRecords) -> tuple[EdgeRows, Mapping[int, str]]:
    """Return the rows of a batch that claim a device's decision, and those that are malformed.

    Args:
        raw: n records.

    Returns:
        (the well-formed rows, the detail of each malformed one by its row).
    """
    rows: list[int] = []
    devices: list[str] = []
    found: list[EdgeRow] = []
    decisions: list[EdgeDecision] = []
    malformed: dict[int, str] = {}
    for row in claiming(raw.headers):
        headers = raw.headers[row] if raw.headers is not None else None
        try:
            device, told = _told(headers or [], raw.keys[row], raw.values[row])
            decision = decode_decision(told.decision)
        except EdgeClaimError as error:
            malformed[row] = f"{MALFORMED}: {error}"
            continue
        rows.append(row)
        devices.append(device)
        found.append(told)
        decisions.append(decision)
    return EdgeRows(tuple(rows), tuple(devices), tuple(found), tuple(decisions)), malformed


def _told(
    headers: Sequence[tuple[str, bytes | None]], key: bytes | None, value: bytes | None
) -> tuple[str, EdgeRow]:
    """Return the device that a record names, and its row.

    Raises:
        EdgeClaimError: A header is missing, there twice, or not what it should be.
    """
    own = [(name, data) for name, data in headers if name in _NAMES]
    told = dict(own)
    if len(own) != len(EDGE_HEADERS) or len(told) != len(EDGE_HEADERS):
        raise EdgeClaimError("a header of the device is missing, or there twice")
    device = (told[EDGE_DEVICE] or b"").decode("ascii", "replace")
    digits = (told[EDGE_SEQUENCE] or b"").decode("ascii", "replace")
    decision = told[EDGE_DECISION] or b""
    previous, signature = told[EDGE_PREVIOUS] or b"", told[EDGE_SIGNATURE] or b""
    if not is_device_name(device):
        raise EdgeClaimError("the device's name is not one")
    sequence = int(digits) if digits.isdecimal() and len(digits) <= _DIGITS_MOST else 0
    if not 1 <= sequence <= SEQUENCE_MOST or digits != str(sequence):
        raise EdgeClaimError("the sequence number is not one")
    if len(previous) != CHAIN_BYTES or len(signature) != SIGNATURE_BYTES:
        raise EdgeClaimError("the chain or the signature has another length")
    if len(decision) > DECISION_BYTES_MOST:
        raise EdgeClaimError(f"the decision has more than {DECISION_BYTES_MOST} bytes")
    if hashlib.sha256(decision).digest() != told[EDGE_DIGEST]:
        raise EdgeClaimError("the digest is not that of the decision")
    if key is None or value is None:
        raise EdgeClaimError("the record has no key or no value")
    return device, EdgeRow(sequence, key, value, decision, previous, signature)
