"""The days on which a model is fitted, its thresholds are chosen, and its quality is measured.

On the first test day the labels of the last ``delay_days`` are not known yet, so neither fitting
nor thresholds may use them. In practice, cards that are known to be compromised are blocked; in a
test they would be too easy. :func:`new_cards` leaves them out by the handbook's rule.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection — Practical Handbook".
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.errors import SettingsError

Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

KNOWN_DAYS = 7
"""Number of days of known labels before the test that determine which cards are compromised."""

_EPOCH = date(1970, 1, 1)
_FROM_END: Final = re.compile(r"end(?:-([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class Days:
    """A range of event days in UTC, both included."""

    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> "Days":
        """Read ``FIRST:LAST``.

        Raises:
            SettingsError: Not two ISO dates in order.
        """
        try:
            first, last = (date.fromisoformat(part) for part in text.split(":"))
        except ValueError:
            raise SettingsError(f"days {text!r}: not a range", "write FIRST:LAST dates") from None
        if last < first:
            raise SettingsError(f"days {text!r}: the last is before the first", "swap them")
        return cls(first, last)

    @classmethod
    def of(cls, day: Int64) -> "Days":
        """Return the range from the first to the last of these day numbers.

        Args:
            day: int64[n], days since 1970-01-01, at least one.
        """
        first, last = (_EPOCH + timedelta(days=int(end)) for end in (day.min(), day.max()))
        return cls(first, last)

    def __str__(self) -> str:
        return f"{self.first}:{self.last}"

    def holds(self, day: Int64) -> Mask:
        """Return bool[n]: which of these day numbers are in the range.

        Args:
            day: int64[n], days since 1970-01-01.
        """
        return (day >= number_of(self.first)) & (day <= number_of(self.last))


@dataclass(frozen=True, slots=True)
class RelativeDays:
    """A range of event days, some of them relative to the last day of the data.

    Attributes:
        first: A day; or the number of days before the last one of the data.
        last: Likewise.
    """

    first: date | int
    last: date | int

    def ending(self, end: date) -> Days:
        """Return the range for data whose last day is ``end``.

        Raises:
            SettingsError: Its last day is before its first one, or the days do not exist.
        """
        try:
            first, last = (
                end - timedelta(days=day) if isinstance(day, int) else day
                for day in (self.first, self.last)
            )
        except OverflowError:
            raise SettingsError(
                f"days {self}: more days than there are before {end}", "count fewer days back"
            ) from None
        if last < first:
            raise SettingsError(
                f"days {self}: for data that end on {end}, the last is before the first",
                "name other days",
            )
        return Days(first, last)

    def __str__(self) -> str:
        """Return the range in the syntax of :func:`read_days`."""
        return f"{_written(self.first)}:{_written(self.last)}"


def _written(day: date | int) -> str:
    if isinstance(day, int):
        return f"end-{day}" if day else "end"
    return str(day)


def read_days(text: str) -> Days | RelativeDays:
    """Read ``FIRST:LAST``; each is a date, ``end`` (the last day of the data) or ``end-N``.

    >>> str(read_days("end-6:end").ending(date(2026, 1, 31)))
    '2026-01-25:2026-01-31'

    Raises:
        SettingsError: Not two such days in order.
    """
    parts = text.split(":")
    back = [_FROM_END.fullmatch(part) for part in parts]
    if not any(back):
        return Days.parse(text)
    try:
        first, last = (
            int(match[1] or 0) if match else date.fromisoformat(part)
            for part, match in zip(parts, back, strict=True)
        )
    except ValueError:
        raise SettingsError(
            f"days {text!r}: not a range", "write FIRST:LAST, as in end-6:end"
        ) from None
    if isinstance(first, int) and isinstance(last, int) and last > first:
        raise SettingsError(f"days {text!r}: the last is before the first", "swap them")
    return RelativeDays(first, last)


@dataclass(frozen=True, slots=True)
class Split:
    """Three ranges of days that do not overlap, and the delay of the labels.

    Attributes:
        train: Days that the model is fitted on.
        validation: Days that the thresholds are chosen on; they may be before ``train``.
        test: Days that the quality is measured on.
        delay_days: Days after which a label is known.
        matured: Whether the labels of all days are known, as in a dataset whose days have matured.
            Then the test may follow immediately, and every label counts on every day.
    """

    train: Days
    validation: Days
    test: Days
    delay_days: int = 7
    matured: bool = False

    def check(self) -> None:
        """Refuse overlapping ranges, and labels that are unknown when the test begins.

        Raises:
            SettingsError: Names the range and the latest day that it may reach.
        """
        refuse_delay(self.delay_days)
        first, second = sorted((self.train, self.validation), key=lambda days: days.first)
        if second.first <= first.last:
            raise SettingsError(
                f"the train days {self.train} and the validation days {self.validation} overlap",
                "part them",
            )
        if self.matured:
            self._check_order()
            return
        try:
            known = self.test.first - timedelta(days=self.delay_days + 1)
        except OverflowError:
            raise SettingsError(
                f"delay {self.delay_days}: more days than there are before the test",
                "lower --delay-days",
            ) from None
        for name, days in (("train", self.train), ("validation", self.validation)):
            if days.last > known:
                raise SettingsError(
                    f"the {name} days {days}: when the test begins on {self.test.first}, labels "
                    f"are known up to {known}, for they take {self.delay_days} days",
                    f"end --{name} there, or change --test or --delay-days",
                )

    def _check_order(self) -> None:
        """Refuse a test that is not after the other days."""
        for name, days in (("train", self.train), ("validation", self.validation)):
            if days.last >= self.test.first:
                raise SettingsError(
                    f"the {name} days {days}: the test begins on {self.test.first}, not after them",
                    f"end --{name} before it, or change --test",
                )


def refuse_delay(days: int) -> None:
    """Refuse a negative delay of labels.

    Raises:
        SettingsError: It is negative.
    """
    if days < 0:
        raise SettingsError(f"delay {days}: less than 0 days", "raise --delay-days")


@dataclass(frozen=True, slots=True)
class RelativeSplit:
    """A split with some days relative to the last day of the data.

    Attributes:
        train: As in :class:`Split`; so are the others.
        validation: Days that the thresholds are chosen on.
        test: Days that the quality is measured on.
        delay_days: Days after which a label is known.
    """

    train: Days | RelativeDays
    validation: Days | RelativeDays
    test: Days | RelativeDays
    delay_days: int = 7
    matured: bool = False

    def ending(self, end: date) -> Split:
        """Return the split for data whose last day is ``end``.

        Raises:
            SettingsError: A range has no days; see :meth:`RelativeDays.ending`.
        """
        train, validation, test = (
            days.ending(end) if isinstance(days, RelativeDays) else days
            for days in (self.train, self.validation, self.test)
        )
        return Split(train, validation, test, self.delay_days, self.matured)


PROTOCOLS: dict[str, Split] = {
    # Thresholds need labels that are known and that the model has not seen: the week before.
    "handbook": Split(
        train=Days(date(2018, 7, 25), date(2018, 7, 31)),
        validation=Days(date(2018, 7, 18), date(2018, 7, 24)),
        test=Days(date(2018, 8, 8), date(2018, 8, 14)),
    ),
    # From the 38th day on: before it, a window of 30 days with a delay of 7 has incomplete history.
    "handbook-long": Split(
        train=Days(date(2018, 5, 8), date(2018, 7, 24)),
        validation=Days(date(2018, 7, 25), date(2018, 7, 31)),
        test=Days(date(2018, 8, 8), date(2018, 8, 14)),
    ),
}
"""The published split, and the longest one for the same test week."""

LATEST: Final = "latest"
"""The protocol that uses the last days of the data."""
_DELAY_DAYS: Final = 7


def latest(delay_days: int) -> RelativeSplit:
    """Return the split that ends with a test week, after a month, a week and the delay.

    >>> str(latest(7).train), str(latest(7).validation), str(latest(7).test)
    ('end-50:end-21', 'end-20:end-14', 'end-6:end')

    Args:
        delay_days: Days after which a label is known.
    """
    known = 7 + delay_days
    return RelativeSplit(
        RelativeDays(known + 36, known + 7), RelativeDays(known + 6, known), RelativeDays(6, 0),
        delay_days,
    )  # fmt: skip


def new_cards(card: pa.Array, day: Int64, fraud: Int64, split: Split) -> Mask:
    """Return bool[n]: the test rows of cards that are not known to be compromised.

    A card is left out from the first test day on which one of its frauds is known. The fraud must
    be in the :data:`KNOWN_DAYS` known days before the test, or later.

    Args:
        card: n customer ids.
        day: int64[n], days since 1970-01-01.
        fraud: int64[n], 1 for fraud.
        split: Contains test days and delay.
    """
    test = split.test.holds(day)
    known_by = day + split.delay_days + 1
    since = number_of(split.test.first) - split.delay_days - KNOWN_DAYS
    telling = (fraud == 1) & (day >= since) & (known_by <= number_of(split.test.last))
    codes: Int64 = pc.dictionary_encode(card).indices.to_numpy().astype(np.int64)
    first_known = np.full(int(codes.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_known, codes[telling], known_by[telling])
    kept: Mask = test & (first_known[codes] > day)
    return kept


def number_of(day: date) -> int:
    """Return a day's number, counted from 1970-01-01."""
    return (day - _EPOCH).days


def split_for(
    protocol: str,
    train: str | None,
    validation: str | None,
    test: str | None,
    delay_days: int | None,
) -> Split | RelativeSplit:
    """Return a protocol's split, with the given parts replaced.

    Args:
        protocol: A key of :data:`PROTOCOLS`, or :data:`LATEST`.
        train: In the syntax of :func:`read_days`, or None for the protocol's; so are the next two.
        validation: Days that the thresholds are chosen on.
        test: Days that the quality is measured on.
        delay_days: Days after which a label is known.

    Raises:
        SettingsError: Unknown protocol, or days that do not form a range.
    """
    if protocol not in PROTOCOLS and protocol != LATEST:
        known = ", ".join((*PROTOCOLS, LATEST))
        raise SettingsError(f"protocol {protocol!r}: unknown", f"known are {known}")
    preset = PROTOCOLS.get(protocol)
    delay = delay_days
    if delay is None:
        delay = _DELAY_DAYS if preset is None else preset.delay_days
    base = latest(delay) if preset is None else preset
    fitted = base.train if train is None else read_days(train)
    chosen = base.validation if validation is None else read_days(validation)
    tested = base.test if test is None else read_days(test)
    if isinstance(fitted, Days) and isinstance(chosen, Days) and isinstance(tested, Days):
        return Split(fitted, chosen, tested, delay)
    return RelativeSplit(fitted, chosen, tested, delay)
