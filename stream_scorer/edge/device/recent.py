"""The answers to the device's last transactions, so that a repeated request gets the first one.

They are kept in arrays: 10,000 answers take a megabyte.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream_scorer.core.events.batch import Outcome
from stream_scorer.edge.claims.contract import EdgeDecision
from stream_scorer.errors import EdgeError

MOST: Final = 10_000
_HASH_BYTES: Final = 16
_ROW: Final = np.dtype(
    [
        ("first", "<u8"), ("second", "<u8"), ("digest", "V16"), ("sequence", "<i8"),
        ("decided_at", "<i8"), ("score", "<f8"), ("outcome", "u1"), ("flags", "u1"),
        ("release", "<u2"), ("reasons", "<u4"),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """The device's decision, as it is answered.

    Attributes:
        sequence: Number of its row.
        release: ``NAME:VERSION`` of the deciding bundle.
        score: Probability of fraud; NaN where the model failed.
        outcome: The outcome.
        flags: Bits of ``Flag``: DEGRADED, CAPPED.
        reasons: Reason codes, largest contribution first.
        decided_at: ms since the epoch.
    """

    sequence: int
    release: str
    score: float
    outcome: Outcome
    flags: int
    reasons: tuple[str, ...]
    decided_at: int

    @classmethod
    def of(cls, sequence: int, decision: EdgeDecision) -> "DeviceAnswer":
        """Return the answer with a decision."""
        return cls(
            sequence, decision.release, decision.score, decision.outcome, decision.flags,
            decision.reasons, decision.decided_at,
        )  # fmt: skip


def identity_of(customer: str, transaction_id: str) -> bytes:
    """Return what identifies a transaction, 16 bytes: the ids of a customer are unique."""
    first = customer.encode()
    hashed = hashlib.blake2b(len(first).to_bytes(4, "big") + first, digest_size=_HASH_BYTES)
    hashed.update(transaction_id.encode())
    return hashed.digest()


class RecentAnswers:
    """The last answers, by transaction. Not thread-safe.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._rows = np.zeros(most, _ROW)
        self._count = 0
        self._names: dict[str, int] = {}
        self._reasons: dict[tuple[str, ...], int] = {}

    def add(self, identity: bytes, digest: bytes, answer: DeviceAnswer) -> None:
        """Add an answer; the oldest one leaves if there are too many.

        Args:
            identity: See :func:`identity_of`.
            digest: Hash of the request, 16 bytes.
            answer: The answer.
        """
        release = self._names.setdefault(answer.release, len(self._names))
        reasons = self._reasons.setdefault(answer.reasons, len(self._reasons))
        first, second = np.frombuffer(identity, "<u8")
        self._rows[self._count % len(self._rows)] = (
            first, second, np.void(digest), answer.sequence, answer.decided_at, answer.score,
            answer.outcome, answer.flags, release, reasons,
        )  # fmt: skip
        self._count += 1

    def find(self, identity: bytes) -> tuple[bytes, DeviceAnswer] | None:
        """Return the request's hash and the answer of a transaction; None if it is not there."""
        first, second = np.frombuffer(identity, "<u8")
        rows = self._rows[: min(self._count, len(self._rows))]
        found = np.flatnonzero((rows["first"] == first) & (rows["second"] == second))
        if not len(found):
            return None
        row = rows[found[0]]
        answer = DeviceAnswer(
            int(row["sequence"]), list(self._names)[int(row["release"])], float(row["score"]),
            Outcome(int(row["outcome"])), int(row["flags"]),
            list(self._reasons)[int(row["reasons"])], int(row["decided_at"]),
        )  # fmt: skip
        return row["digest"].tobytes(), answer

    def packed(self) -> bytes:
        """Return all answers as bytes, oldest first, with the texts that are in use."""
        at = self._count % len(self._rows)
        rows = self._rows[:at] if self._count == at else np.roll(self._rows, -at)
        rows = rows.copy()
        texts: dict[str, list[Any]] = {}
        for name, known in (("release", self._names), ("reasons", self._reasons)):
            used, place = np.unique(rows[name], return_inverse=True)
            every: list[Any] = list(known)
            texts[name] = [every[number] for number in used.tolist()]
            rows[name] = place
        return json.dumps(texts).encode() + b"\n" + rows.tobytes()

    @classmethod
    def unpacked(cls, data: bytes) -> "RecentAnswers":
        """Return the answers of bytes that this program wrote.

        Raises:
            EdgeError: They are damaged.
        """
        found = cls()
        try:
            text, _, packed = data.partition(b"\n")
            texts = json.loads(text)
            rows = np.frombuffer(packed, _ROW)[-MOST:]
            found._names = {name: number for number, name in enumerate(texts["release"])}
            found._reasons = {tuple(each): n for n, each in enumerate(texts["reasons"])}
            found._rows[: len(rows)] = rows
            found._count = len(rows)
        except (ValueError, KeyError, TypeError) as error:
            raise EdgeError("the device's recent answers are damaged", "restore it") from error
        return found
