"""The two draws: which would-be BLOCKs are let through, and which transactions are reviewed.

Both are functions of a transaction and a secret key, so a repeated batch draws the same. A client
that could compute them would know which of its frauds pass, so the draw of let-through is an HMAC.
The draw for review mixes the transaction's hash with bits of its key. That is fast, and not
cryptographic: a transaction that is drawn is only looked at.
"""

import hashlib
import hmac
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.exploring.contract import Bool, Drawn, Exploration, Float64

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

_THROUGH: Final = b"let-through\0"
_REVIEW: Final = b"review\0"
_DAY_MS: Final = 86_400_000
_UNIT: Final = 2.0**-64
_EIGHT: Final = 8
# The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
# 2014).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def probability(exploration: Exploration, score: Float64, amount_minor: Int64) -> Float64:
    """Return float64[n]: the probability that a would-be BLOCK is let through.

    Args:
        exploration: The plan's table.
        score: float64[n]; 0 for NaN.
        amount_minor: int64[n]; 0 for an amount above the largest one.

    >>> bands = np.array([[0.8, 0.02], [0.95, 0.0]])
    >>> exploration = Exploration(bands, 15_000, b"0" * 32)
    >>> score, amount = np.array([0.7, 0.8, 0.9, 0.95, 0.9]), np.array([9, 9, 9, 9, 15_001])
    >>> probability(exploration, score, amount).tolist()
    [0.0, 0.02, 0.02, 0.0, 0.0]
    """
    starts, shares = exploration.bands[:, 0], np.append(0.0, exploration.bands[:, 1])
    # NaN would be placed after the last band.
    known = np.nan_to_num(score, nan=-1.0)
    found = shares[np.searchsorted(starts, known, side="right")]
    return np.where(amount_minor <= exploration.most_minor, found, 0.0)


def draw(
    exploration: Exploration, customer: pa.Array, event_time: Int64, score: Float64,
    amount_minor: Int64, block: Bool,
) -> Drawn:  # fmt: skip
    """Draw which would-be BLOCKs are let through.

    Args:
        exploration: The plan's table, with the key.
        customer: n ids of customers, strings.
        event_time: int64[n], ms.
        score: float64[n], NaN where the model failed.
        amount_minor: int64[n], in the plan's base currency.
        block: bool[n], whether the policy's outcome is BLOCK.
    """
    p = np.where(block, probability(exploration, score, amount_minor), 0.0)
    through = np.zeros(len(p), np.bool_)
    rows = np.flatnonzero(p > 0)
    if len(rows):
        names = customer.take(pa.array(rows)).to_pylist()
        days = event_time[rows] // _DAY_MS
        through[rows] = numbers(exploration.key, names, days) < p[rows]
    return Drawn(through, np.where(through, p, 1.0 - p))


def numbers(key: bytes, customer: list[str], day: Int64) -> Float64:
    """Return float64[n] in [0, 1]: the number of each customer's UTC day.

    Args:
        key: The secret key.
        customer: n ids.
        day: int64[n], days since the epoch.
    """
    return np.array(
        [
            int.from_bytes(_mac(key, name.encode(), number)[:_EIGHT], "little") * _UNIT
            for name, number in zip(customer, day.tolist(), strict=True)
        ],
        np.float64,
    )


def _mac(key: bytes, customer: bytes, day: int) -> bytes:
    text = _THROUGH + customer + b"\0" + day.to_bytes(_EIGHT, "little", signed=True)
    return hmac.digest(key, text, "sha256")


def drawn_for_review(key: bytes, probability_of: float, transaction: UInt64) -> Bool:
    """Return bool[n]: which transactions are drawn for review.

    Args:
        key: The secret key of the draw.
        probability_of: Of each transaction, in (0, 1].
        transaction: uint64[n], hashes of the transactions' ids.
    """
    secret = np.frombuffer(hashlib.sha256(_REVIEW + key).digest()[:16], "<u8")
    mixed = _finalised(_finalised(transaction ^ secret[0]) + secret[1])
    return np.asarray(mixed * _UNIT < probability_of, np.bool_)


def _finalised(value: UInt64) -> UInt64:
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))
