"""The recorded copy of a scorer's summaries, and the process that sends it again.

Of a scorer's outputs, the monitor reads only the summaries, and the profiler none: it reads
transactions and labels. No neighbour reads decisions, so a copy of them would be load that the
scorer's neighbours do not have.
"""

import base64
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import load_settings

_FLUSH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Summary:
    """One record.

    Attributes:
        after: Seconds from the producer's first record to this one's append.
        key: None for none.
        value: Its bytes.
    """

    after: float
    key: bytes | None
    value: bytes


def recorded(messages: Iterable[Any], start: float) -> list[Summary]:
    """Return a topic's messages since a time, with their times.

    Args:
        messages: In the topic's order; their timestamps are the broker's.
        start: When the producer's first record was due, seconds since the epoch.
    """
    return [
        Summary(after, message.key(), message.value())
        for message in messages
        if (after := message.timestamp()[1] / 1_000 - start) >= 0
    ]


def write(file: Path, summaries: Iterable[Summary]) -> None:
    """Write a recording: one line of JSON for each record."""
    lines = (
        json.dumps([each.after, None if each.key is None else _text(each.key), _text(each.value)])
        for each in summaries
    )
    file.write_text("".join(f"{line}\n" for line in lines))


def read(file: Path) -> list[Summary]:
    """Read a recording."""
    rows = (json.loads(line) for line in file.read_text().splitlines())
    return [
        Summary(after, None if key is None else base64.b64decode(key), base64.b64decode(value))
        for after, key, value in rows
    ]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return the run that sends a recording at its own pace.

    Args:
        arguments: The recording.
    """
    settings = load_settings()
    summaries = read(Path(arguments[0]))
    options = client_options.common(settings.kafka) | {"enable.idempotence": True, "linger.ms": 0}
    producer = Producer(options)
    topic = settings.kafka.topics.summaries

    def run() -> None:
        start = time.time()
        for each in summaries:
            if (left := start + each.after - time.time()) > 0:
                time.sleep(left)
            producer.produce(topic, each.value, each.key)
            producer.poll(0)
        if producer.flush(_FLUSH_SECONDS):
            raise SystemExit(f"{topic}: the broker did not accept all summaries")

    return run
