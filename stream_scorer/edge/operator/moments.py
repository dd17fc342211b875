"""Times on the command line: an ISO 8601 time, or a time ago."""

import re
import time
from datetime import UTC, datetime
from typing import Final

from stream_scorer.errors import SettingsError

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment_ms(text: str) -> int:
    """Return a time, ms since the epoch.

    Args:
        text: ISO 8601, UTC without a zone; ``90m``, ``12h``, ``7d``: so long ago; empty: now.

    Raises:
        SettingsError: It is neither.
    """
    now = time.time_ns() // 1_000_000
    if not text:
        return now
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _SECONDS[ago[2]] * 1_000
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{text!r} is not a time", "give one such as 2026-11-25T10:00:00Z, 12h or 7d"
        ) from None
    return round(found.replace(tzinfo=found.tzinfo or UTC).timestamp() * 1_000)
