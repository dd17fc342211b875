"""Amounts of several currencies in minor units of one: integer ratios by date, rounded half-even.

The rate of an event depends on its time and the plan only. All arithmetic is on integers, so every
way of scoring computes the same minor units.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import gcd
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.mapping.mapping_table import shown
from stream_scorer.core.mapping.minor_units import minor_per_unit
from stream_scorer.core.mapping.quoting import quoted_key

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

RATE_ENTRIES: Final = 4_096
"""Maximum number of dated rates of all currencies together."""
RATIO_MOST: Final = 2**31 - 1
"""Largest numerator and denominator between minor units, in lowest terms."""
_EXPONENT_MOST: Final = 4
_INT64: Final = 2**63 - 1
_RATIO: Final = re.compile(r"([0-9]{1,19})/([0-9]{1,19})")
_DECIMAL: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

CONVERTED, NO_CURRENCY, NO_RATE, OVERFLOW = range(4)
"""The result for an amount."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How amounts of the other currencies become amounts of the base currency.

    Attributes:
        base: The base currency.
        currencies: c codes in order.
        starts: For each currency, int64[d]: the times, ms, from which each rate applies, ascending.
        numerators: For each, int64[d]: base minor units for ``denominators`` minor units.
        denominators: For each, int64[d].
    """

    base: str
    currencies: tuple[str, ...]
    starts: tuple[Int64, ...]
    numerators: tuple[Int64, ...]
    denominators: tuple[Int64, ...]


def rates_of(table: Mapping[str, Any], currencies: Mapping[str, int]) -> Rates:
    """Read the table ``[rates]`` of events.toml.

    Args:
        table: ``base``, and for each other currency a table of date = rate. A rate is the value of
            one unit of the currency in units of the base: ``"91/100"`` or ``"0.91"``. It applies
            from its date (or UTC time) until the next one.
        currencies: The plan's currencies, exponents by code.

    Raises:
        ValueError: A rate is missing, zero, out of range or not a ratio; the message names the key.
    """
    base = table.get("base")
    if not isinstance(base, str) or base not in currencies:
        raise ValueError(f"rates.base: must be a currency of the plan, not {shown(base)}")
    for code in table:
        if code not in ("base", *currencies):
            raise ValueError(f"rates.{quoted_key(code)}: the plan's currencies do not list it")
    if base in table:
        raise ValueError(f"rates.{base}: the base has no rate; remove it")
    codes = sorted(currencies)
    listed = [table.get(code, {}) for code in codes]
    for code, dated in zip(codes, listed, strict=True):
        if not isinstance(dated, dict) or (not dated and code != base):
            raise ValueError(f"rates.{code}: must be a table of date = rate with one at least")
    if sum(map(len, listed)) > RATE_ENTRIES:
        raise ValueError(f"rates: more than {RATE_ENTRIES} dated rates")
    columns = [
        _of_base() if code == base else _dated(code, dated, currencies[code], currencies[base])
        for code, dated in zip(codes, listed, strict=True)
    ]
    starts, numerators, denominators = zip(*columns, strict=True)
    return Rates(base, tuple(codes), starts, numerators, denominators)


def _of_base() -> tuple[Int64, Int64, Int64]:
    """Return the rate of the base currency: 1 at any time."""
    return np.array([np.iinfo(np.int64).min]), np.array([1]), np.array([1])


def _dated(
    code: str, dated: Mapping[str, Any], exponent: int, base: int
) -> tuple[Int64, Int64, Int64]:
    entries = sorted((_start(code, date), date, rate) for date, rate in dated.items())
    for (earlier, _, _), (later, date, _) in pairwise(entries):
        if earlier == later:
            raise ValueError(f"rates.{code}.{date}: this time is there twice")
    ratios = [_ratio(f"rates.{code}.{date}", rate, exponent, base) for _, date, rate in entries]
    return (
        np.array([start for start, _, _ in entries], np.int64),
        np.array([numerator for numerator, _ in ratios], np.int64),
        np.array([denominator for _, denominator in ratios], np.int64),
    )


def _start(code: str, date: str) -> int:
    try:
        time = datetime.fromisoformat(date)
    except ValueError:
        raise ValueError(
            f"rates.{code}: {shown(date)} is neither a date (2026-01-31) nor a UTC time"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    elif time.utcoffset():
        raise ValueError(f"rates.{code}.{date}: write the time in UTC")
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _ratio(key: str, rate: object, exponent: int, base: int) -> tuple[int, int]:
    """Return the ratio between minor units, in lowest terms."""
    text = rate if isinstance(rate, str) else ""
    ratio, decimal = _RATIO.fullmatch(text), _DECIMAL.fullmatch(text)
    if ratio:
        above, below = int(ratio[1]), int(ratio[2])
    elif decimal:
        fraction = decimal[2] or ""
        above, below = int(decimal[1] + fraction), 10 ** len(fraction)
    else:
        raise ValueError(f'{key}: must be text such as "91/100" or "0.91", not {shown(rate)}')
    if not above or not below:
        raise ValueError(f"{key}: {text} is zero, or divides by zero")
    above, below = above * minor_per_unit(base), below * minor_per_unit(exponent)
    common = gcd(above, below)
    above, below = above // common, below // common
    if max(above, below) > RATIO_MOST:
        raise ValueError(
            f"{key}: {above}/{below} between minor units, and both must be at most {RATIO_MOST}; "
            "write fewer digits"
        )
    return above, below


def base_minor(
    rates: Rates, amount_minor: Int64, currency: pa.Array, event_time: Int64
) -> tuple[Int64, UInt8]:
    """Convert amounts to minor units of the base currency, rounded half-even.

    Args:
        rates: The plan's rates.
        amount_minor: int64[n], minor units of each event's currency.
        currency: n codes.
        event_time: int64[n], ms since the epoch, UTC.

    Returns:
        (int64[n], 0 without a result; uint8[n], CONVERTED, NO_CURRENCY, NO_RATE or OVERFLOW).
    """
    codes = pc.index_in(currency, pa.array(rates.currencies, pa.string())).fill_null(-1)
    which = codes.to_numpy(zero_copy_only=False)
    found = np.zeros(len(amount_minor), np.int64)
    status = np.full(len(amount_minor), NO_CURRENCY, np.uint8)
    for number in np.unique(which[which >= 0]).tolist():
        rows = np.flatnonzero(which == number)
        dated = np.searchsorted(rates.starts[number], event_time[rows], side="right") - 1
        status[rows[dated < 0]] = NO_RATE
        rows, dated = rows[dated >= 0], dated[dated >= 0]
        values, fits = scaled_half_even(
            amount_minor[rows], rates.numerators[number][dated], rates.denominators[number][dated]
        )
        found[rows] = values
        status[rows] = np.where(fits, CONVERTED, OVERFLOW)
    return found, status


def scaled_half_even(values: Int64, above: Int64, below: Int64) -> tuple[Int64, NDArray[np.bool_]]:
    """Return values x above / below, rounded half-even, and whether each fits 64 bits (else 0).

    Args:
        values: int64[n].
        above: int64[n], 1 to ``RATIO_MOST``.
        below: int64[n], likewise.
    """
    # value = complete x below + rest, 0 <= rest < below. Only complete x above may exceed 62 bits.
    complete, rest = np.divmod(values, below)
    part, left = np.divmod(rest * above, below)
    most = (_INT64 - RATIO_MOST) // above
    fits = (complete <= most) & (complete >= -most)
    total = np.where(fits, complete, 0) * above + part
    up = (2 * left > below) | ((2 * left == below) & (total & 1 == 1))
    return np.where(fits, total + up, 0), fits
