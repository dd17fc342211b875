"""The bodies of ``/v1/edge``: a device's rows as JSON, judged within limits, and the answers."""

from collections.abc import Sequence
from typing import Final

import msgspec

from stream_scorer.edge.claims.contract import (
    CHAIN_BYTES,
    DECISION_BYTES_MOST,
    SEQUENCE_MOST,
    SIGNATURE_BYTES,
    EdgeProgress,
    EdgeRow,
)
from stream_scorer.producing.sender import VALUE_BYTES_MOST
from stream_scorer.serving.web.problems import Problem

KEY_BYTES_MOST: Final = 4_096
_DETAIL_MOST: Final = 200


class UploadedRow(msgspec.Struct, forbid_unknown_fields=True):
    """A row of an upload; bytes are base64.

    Attributes:
        sequence: Its number on the device, from 1.
        key: Key of the transaction's record.
        value: Value of the transaction's record.
        decision: The device's decision.
        previous: The device's hash chain before it.
        signature: The device's signature.
    """

    sequence: int
    key: bytes
    value: bytes
    decision: bytes
    previous: bytes
    signature: bytes


class EdgeUpload(msgspec.Struct, forbid_unknown_fields=True):
    """An upload.

    Attributes:
        rows: The rows, with numbers in order and without gaps.
        device: The device; empty: the client's name, which it must be.
    """

    rows: list[UploadedRow]
    device: str = ""


class UploadedProgress(msgspec.Struct):
    """Up to which row a device's rows are published.

    Attributes:
        sequence: Number of the last published row; 0 before the first.
        chain: The device's hash chain after it.
    """

    sequence: int
    chain: bytes

    @classmethod
    def of(cls, progress: EdgeProgress) -> "UploadedProgress":
        """Return it for an answer."""
        return cls(progress.sequence, progress.chain)


class EdgeUploadAnswer(msgspec.Struct):
    """The answer to an upload.

    Attributes:
        progress: Up to which row the device may forget its rows.
        published: Rows that this upload published.
        repeated: Rows that were published before.
    """

    progress: UploadedProgress
    published: int
    repeated: int


_DECODER: Final = msgspec.json.Decoder(EdgeUpload)


def uploaded(body: bytes, rows_most: int) -> tuple[str, Sequence[EdgeRow]]:
    """Return the device that a body names, and its rows.

    Raises:
        Problem: The body is not an upload within the limits.
    """
    try:
        upload = _DECODER.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _invalid(str(error)[:_DETAIL_MOST]) from None
    if not 0 < len(upload.rows) <= rows_most:
        raise _invalid(f"an upload has 1 to {rows_most} rows")
    for row in upload.rows:
        fault = _fault(row)
        if fault:
            raise _invalid(f"row {row.sequence}: {fault}")
    return upload.device, [
        EdgeRow(row.sequence, row.key, row.value, row.decision, row.previous, row.signature)
        for row in upload.rows
    ]


def _invalid(detail: str) -> Problem:
    return Problem(400, "edge-invalid", "The body is not an upload.", detail)


def _fault(row: UploadedRow) -> str:
    """Return what no row of a device has; empty if there is nothing."""
    if not 1 <= row.sequence <= SEQUENCE_MOST:
        return "the sequence number is not one"
    if len(row.key) > KEY_BYTES_MOST or not 0 < len(row.value) <= VALUE_BYTES_MOST:
        return "the key or the value is empty or too long"
    if not 0 < len(row.decision) <= DECISION_BYTES_MOST:
        return "the decision is empty or too long"
    if len(row.previous) != CHAIN_BYTES or len(row.signature) != SIGNATURE_BYTES:
        return "the chain or the signature has another length"
    return ""
