"""One feature's table in a manifest, read with refusals that name the feature and what is known."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stream_scorer.core.fields import STRINGS

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_WINDOW_MS = 400 * 86_400_000
_MOST_EVENTS = 2**20
CUSTOMER = "customer_id"


def refusal(name: object, text: str) -> ValueError:
    """Return the error that refuses a feature."""
    return ValueError(f"feature {name}: {text}")


def length_ms(name: object, value: object) -> int:
    """Return a window's length in ms.

    Raises:
        ValueError: It is no bounded length, or longer than 400 days.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value) if isinstance(value, str) else None
    if match is None or not match[1].isascii():
        raise refusal(name, f"window {str(value)!r} is no bounded length; write 30m, 24h or 7d")
    length = int(match[1]) * _UNITS_MS[match[2]]
    if length > _LONGEST_WINDOW_MS:
        raise refusal(name, f"window {value} is longer than 400d")
    return length


@dataclass(frozen=True, slots=True)
class Declaration:
    """A feature's table, whose keys are those of its kind.

    Attributes:
        name: The feature's name.
        table: The table itself.
        longest_ms: The longest window of the manifest, ms, 0 when there is none: how far a feature
            without one looks back.
    """

    name: str
    table: Mapping[str, object]
    longest_ms: int

    def refuse(self, text: str) -> ValueError:
        """Return the error that refuses this feature."""
        return refusal(self.name, text)

    def window_ms(self) -> int:
        """Return how far back the feature looks, ms."""
        if "window" in self.table:
            return length_ms(self.name, self.table["window"])
        if not self.longest_ms:
            raise self.refuse("without a window it looks back as far as the manifest's longest "
                              "one, and the manifest has none; give it a window")  # fmt: skip
        return self.longest_ms

    def last(self) -> int:
        """Return how many of the newest events count, 0 for all."""
        value = self.table.get("last", 0)
        if "last" in self.table and (type(value) is not int or not 0 < value <= _MOST_EVENTS):
            raise self.refuse(f"last {value!r} is no number of events; write 1 or more, "
                              f"at most {_MOST_EVENTS}")  # fmt: skip
        return int(value) if isinstance(value, int) else 0

    def key(self) -> str | None:
        """Return the field that must be the event's own beside the customer, if any."""
        value = self.table.get("key", CUSTOMER)
        if value in (CUSTOMER, [CUSTOMER], (CUSTOMER,)):
            return None
        parts = list(value) if isinstance(value, list | tuple) else [value]
        if CUSTOMER not in parts:
            raise self.refuse(f"key {value!r} is not known here; the input is partitioned by "
                              f"customer, so the key must be {CUSTOMER!r} or "
                              f"[{CUSTOMER!r}, one of {', '.join(STRINGS)}]")  # fmt: skip
        others = [part for part in parts if part != CUSTOMER]
        if len(parts) != 2 or len(others) != 1 or others[0] not in STRINGS:  # noqa: PLR2004 a pair
            raise self.refuse(f"key {value!r} is not known; known: {CUSTOMER!r} and "
                              f"[{CUSTOMER!r}, one of {', '.join(STRINGS)}]")  # fmt: skip
        return str(others[0])

    def field(self, known: Sequence[str]) -> str:
        """Return the field that the feature is about, one of those known."""
        value = self.table["field"]
        if value not in known:
            names = ", ".join(repr(name) for name in known)
            raise self.refuse(f"field {value!r} is not known; known: {names}")
        return str(value)

    def number(self, key: str, default: float) -> float:
        """Return a number."""
        value = self.table.get(key, default)
        if type(value) not in (int, float) or not isinstance(value, int | float):
            raise self.refuse(f"{key} must be a number, not {value!r}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of different strings."""
        value = self.table[key]
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(text, str) for text in value)
            or len(set(value)) < len(value)
        ):
            raise self.refuse(f"{key} must be a list of different strings, not {value!r}")
        return tuple(value)

    def zone(self) -> str:
        """Return the name of the time zone, UTC by default."""
        value = self.table.get("timezone", "UTC")
        try:
            if not isinstance(value, str):
                raise self.refuse(f"timezone must be an IANA name, not {value!r}")
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError, ValueError):
            raise self.refuse(f"timezone {value!r} is not known; write an IANA name, such as "
                              "'Europe/Berlin'") from None  # fmt: skip
        return value
