"""The plan's tables ``explore`` and ``review_sample``, checked: what is drawn at random.

The tables are plain data inside the plan; here they become numbers. Amounts are written in units of
the currency. The secret keys are not in the plan, only their digests::

    [explore]
    key_digest = "00112233445566778899aabbccddeeff"
    bands = [{from = 0.82, p = 0.02}, {from = 0.95, p = 0.005}]   # below the first one: p = 0
    max_amount = 150.0              # a larger amount is never let through
    cap_per_day = 500.0             # of money
    expected_per_day = 412.3        # at most the cap
    computed_from = "..."           # digest of the data that it was computed from, 64 hex digits
    [review_sample]
    key_digest = "ffeeddccbbaa99887766554433221100"
    p = 0.05
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from stream_scorer.core.mapping.minor_units import minor_per_unit
from stream_scorer.core.mapping.quoting import quoted

BANDS_MOST: Final = 64
"""Maximum number of bands of scores."""
_INT64 = 2**63 - 1
_MONEY_MOST = 1e15
_KEY_DIGEST = re.compile("[0-9a-f]{32}")
_DATA_DIGEST = re.compile("[0-9a-f]{64}")
_EXPLORE = ("key_digest", "bands", "max_amount", "cap_per_day", "expected_per_day", "computed_from")
_REVIEW = ("key_digest", "p")


@dataclass(frozen=True, slots=True)
class ExploreTable:
    """Which would-be BLOCKs are let through, as numbers.

    Attributes:
        key_digest: First 32 hex digits of the key's digest.
        bands: (score, probability) pairs: from this score on, up to the next pair's, a would-be
            BLOCK is let through with this probability. Scores ascend; probabilities are in [0, 1).
        most_minor: Largest amount that may be let through, in minor units.
        cap_per_day: Largest expected loss per day, in units of the currency.
        expected_per_day: Expected loss per day on the reference, likewise.
        computed_from: SHA-256 of what ``expected_per_day`` was computed from, in hex.
    """

    key_digest: str
    bands: tuple[tuple[float, float], ...]
    most_minor: int
    cap_per_day: float
    expected_per_day: float
    computed_from: str


@dataclass(frozen=True, slots=True)
class ReviewTable:
    """Which transactions are drawn for review, whatever their score.

    Attributes:
        key_digest: First 32 hex digits of the key's digest.
        probability: Of each transaction, in (0, 1].
    """

    key_digest: str
    probability: float


def read_explore(table: Mapping[str, Any], exponent: int) -> ExploreTable | None:
    """Return the exploration of a table; None if the table is empty.

    Args:
        table: As TOML or JSON has it.
        exponent: Of the currency of the amounts: minor units = units x 10^exponent.

    Raises:
        ValueError: A key is unknown or missing, its value is not valid, or the expected loss is
            above the cap; the message is one line that names the key.
    """
    if not table:
        return None
    _check_keys(table, _EXPLORE)
    cap = _money("cap_per_day", table["cap_per_day"])
    expected = _money("expected_per_day", table["expected_per_day"])
    if expected > cap:
        raise ValueError(
            f"expected_per_day: {expected:g} is more than cap_per_day, {cap:g}; lower a p"
        )
    return ExploreTable(
        _digest("key_digest", table["key_digest"], _KEY_DIGEST),
        _bands(table["bands"]),
        _minor("max_amount", table["max_amount"], exponent),
        cap,
        expected,
        _digest("computed_from", table["computed_from"], _DATA_DIGEST),
    )


def read_review_sample(table: Mapping[str, Any]) -> ReviewTable | None:
    """Return the review sample of a table; None if the table is empty.

    Args:
        table: As TOML or JSON has it.

    Raises:
        ValueError: A key is unknown or missing, or its value is not valid; the message is one line
            that names the key.
    """
    if not table:
        return None
    _check_keys(table, _REVIEW)
    p = table["p"]
    if type(p) not in (int, float) or not 0 < p <= 1:
        raise ValueError(f"p: must be a number above 0 and at most 1, not {quoted(p)}")
    return ReviewTable(_digest("key_digest", table["key_digest"], _KEY_DIGEST), float(p))


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {quoted(key)}; known are {', '.join(known)}")
    for key in known:
        if key not in table:
            raise ValueError(f"{key}: is missing")


def _digest(key: str, value: Any, pattern: re.Pattern[str]) -> str:
    if type(value) is not str or pattern.fullmatch(value) is None:
        digits = "32" if pattern is _KEY_DIGEST else "64"
        raise ValueError(f"{key}: must be {digits} hex digits in lower case, not {quoted(value)}")
    return value


def _bands(wanted: Any) -> tuple[tuple[float, float], ...]:
    if type(wanted) is not list or not 0 < len(wanted) <= BANDS_MOST:
        raise ValueError(f"bands: must be a list of 1 to {BANDS_MOST} tables")
    bands = tuple(_band(f"bands {number}: ", each) for number, each in enumerate(wanted, 1))
    if not all(low < high for (low, _), (high, _) in pairwise(bands)):
        raise ValueError("bands: from must ascend, and none may be repeated")
    if not any(p for _, p in bands):
        raise ValueError("bands: every p is 0, so nothing is let through; leave the table out")
    return bands


def _band(where: str, band: Any) -> tuple[float, float]:
    if not isinstance(band, dict):
        raise ValueError(f"{where}must be a table, not {quoted(band)}")  # noqa: TRY004 all errors of a plan are ValueErrors
    try:
        _check_keys(band, ("from", "p"))
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None
    start, p = band["from"], band["p"]
    if type(start) not in (int, float) or not 0 < start <= 1:
        raise ValueError(f"{where}from: must be a score above 0 and at most 1, not {quoted(start)}")
    if type(p) not in (int, float) or not 0 <= p < 1:
        raise ValueError(f"{where}p: must be a number from 0 to below 1, not {quoted(p)}")
    return float(start), float(p)


def _money(key: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= _MONEY_MOST:
        raise ValueError(f"{key}: must be an amount above 0, not {quoted(value)}")
    return float(value)


def _minor(key: str, value: Any, exponent: int) -> int:
    if type(value) not in (int, float) or not 0 < value < _INT64:
        raise ValueError(f"{key}: must be an amount above 0 that 64 bits hold, not {quoted(value)}")
    # The decimal that was written, not the float that is nearest to it.
    minor = Decimal(repr(value)).scaleb(exponent)
    if minor != minor.to_integral_value() or minor > _INT64:
        unit = minor_per_unit(exponent)
        raise ValueError(f"{key}: {value!r} is not a number of minor units, 1/{unit}")
    return int(minor)
