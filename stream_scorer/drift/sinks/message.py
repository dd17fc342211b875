"""A drift event as a sink sends it: one JSON object of limited size."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

BODY_MOST: Final = 64 * 1024
"""Maximum size of a body in bytes."""
_LONG: Final = ("labels", "before", "after", "also")
_TEXT_MOST: Final = 4_096
"""Maximum characters of a text of an event."""
_SHORT_MOST: Final = 256
"""The same in a body that would be too large: 16 texts of 12 bytes a character are below it."""
_EVENT: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class SinkMessage:
    """What is sent of an event.

    Attributes:
        key: The same for each attempt: the event's id.
        event: Its fields; times are texts in ISO 8601.
        body: The same as JSON.
    """

    key: str
    event: Mapping[str, Any]
    body: bytes


def message_of(event: Mapping[str, Any], place: str) -> SinkMessage:
    """Return the message of an event.

    Args:
        event: A decoded drift event.
        place: Names the record; the key of an event without an id.

    Raises:
        ValueError: Its id is not one that the monitor makes: it cannot be a key.
    """
    name = event.get("event_id") or ""
    if name and not _EVENT.fullmatch(name):
        raise ValueError("event_id does not have 16 hex digits")
    plain = {name: _plain(value) for name, value in event.items()}
    body = _encoded(plain)
    if len(body) > BODY_MOST:
        cut = {n: v[:_SHORT_MOST] if isinstance(v, str) else v for n, v in plain.items()}
        plain = cut | dict.fromkeys(_LONG, None) | {"shortened": True}
        body = _encoded(plain)
    return SinkMessage(name or place, plain, body)


def _encoded(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value[:_TEXT_MOST]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
