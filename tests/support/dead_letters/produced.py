"""Dead letters as individual records, as a producer sends them."""

from dataclasses import dataclass
from typing import Any

from stream_scorer.dead_letters.format import dead_letters
from stream_scorer.ports import Headers


@dataclass(frozen=True)
class Produced:
    """One record, as it is sent."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers


def letters_of(*arguments: Any, **named: Any) -> list[Produced]:
    """Return what ``dead_letters`` makes of its arguments, record by record."""
    sent = dead_letters(*arguments, **named)
    assert sent.headers is not None
    return [
        Produced(sent.topic, *each)
        for each in zip(sent.values, sent.keys, sent.headers, strict=True)
    ]
