"""Which days a model is fitted on, its thresholds chosen on, and its quality told for.

On the first test day the labels of the last ``delay_days`` are not known yet, so neither fitting
nor thresholds may use them. Cards that are known to be compromised are blocked in real life and
would make a test easy; :func:`new_cards` is the handbook's rule that leaves them out.

Source: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine Learning for Credit Card
Fraud Detection — Practical Handbook".
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.errors import SettingsError

Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

KNOWN_DAYS = 7
"""So many days of known labels before the test tell which cards are compromised."""

_EPOCH = date(1970, 1, 1)


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
        """Return bool[n], which of these day numbers lie in the range.

        Args:
            day: int64[n], days since 1970-01-01.
        """
        return (day >= number_of(self.first)) & (day <= number_of(self.last))


@dataclass(frozen=True, slots=True)
class Split:
    """Three ranges of days that do not overlap, and the delay of the labels.

    Attributes:
        train: Days that the model is fitted on.
        validation: Days that the thresholds are chosen on; they may lie before ``train``.
        test: Days that the quality is told for.
        delay_days: Days after which a label is known.
    """

    train: Days
    validation: Days
    test: Days
    delay_days: int = 7

    def check(self) -> None:
        """Refuse overlapping ranges and labels that are not known when the test begins.

        Raises:
            SettingsError: Names the range and the day that it may reach.
        """
        if self.delay_days < 0:
            raise SettingsError(f"delay {self.delay_days}: less than 0 days", "raise --delay-days")
        first, second = sorted((self.train, self.validation), key=lambda days: days.first)
        if second.first <= first.last:
            raise SettingsError(
                f"the train days {self.train} and the validation days {self.validation} overlap",
                "part them",
            )
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


PROTOCOLS: dict[str, Split] = {
    # Thresholds need labels that are known and that the model has not seen: the week before.
    "handbook": Split(
        train=Days(date(2018, 7, 25), date(2018, 7, 31)),
        validation=Days(date(2018, 7, 18), date(2018, 7, 24)),
        test=Days(date(2018, 8, 8), date(2018, 8, 14)),
    ),
    # From the 38th day on: before, a window of 30 days behind a delay of 7 has no whole history.
    "handbook-long": Split(
        train=Days(date(2018, 5, 8), date(2018, 7, 24)),
        validation=Days(date(2018, 7, 25), date(2018, 7, 31)),
        test=Days(date(2018, 8, 8), date(2018, 8, 14)),
    ),
}
"""The published split, and the longest one for the same test week."""


def new_cards(card: pa.Array, day: Int64, fraud: Int64, split: Split) -> Mask:
    """Return bool[n], the test rows of cards that are not known to be compromised.

    A card is left out from the first test day on which one of its frauds is known, if that lies
    in the :data:`KNOWN_DAYS` known days before the test or later.

    Args:
        card: n customer ids.
        day: int64[n], days since 1970-01-01.
        fraud: int64[n], 1 for fraud.
        split: Gives test days and delay.
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
) -> Split:
    """Return a protocol's split, with what is given in its place.

    Args:
        protocol: A key of :data:`PROTOCOLS`.
        train: ``FIRST:LAST``, or None for the protocol's; so are the next two.
        validation: Days that the thresholds are chosen on.
        test: Days that the quality is told for.
        delay_days: Days after which a label is known.

    Raises:
        SettingsError: Unknown protocol, or days that are no range.
    """
    if protocol not in PROTOCOLS:
        raise SettingsError(f"protocol {protocol!r}: unknown", f"known are {', '.join(PROTOCOLS)}")
    preset = PROTOCOLS[protocol]
    return Split(
        train=preset.train if train is None else Days.parse(train),
        validation=preset.validation if validation is None else Days.parse(validation),
        test=preset.test if test is None else Days.parse(test),
        delay_days=preset.delay_days if delay_days is None else delay_days,
    )
