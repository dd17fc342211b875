"""The event time of a waiting record, where our schemas read it."""

import time
from typing import Any

from stream_scorer.errors import RegistryUnavailableError, StreamScorerError
from stream_scorer.lag.broker.looks import Place
from stream_scorer.settings import Settings

_FAMILY = "transaction.v1"
_AGAIN_SECONDS = 60.0
"""How long nothing is decoded after a registry did not answer: a look must not wait for it."""


class EventTimes:
    """Reads event times of the topic of transactions.

    A topic with a mapping (``events.toml``) has other records, which are not read.

    Args:
        settings: The registry, and the name of the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._registry = settings.registry
        self._topic = settings.kafka.topics.transactions
        self._reader: Any = None
        self._not_before = float("-inf")

    def __call__(self, at: Place, value: bytes | None) -> float | None:
        """Return a record's event time, seconds since the epoch; None if it is not known."""
        if at[0] != self._topic or value is None or time.monotonic() < self._not_before:
            return None
        try:
            return float(self._opened().decode(value)["event_time"].timestamp())
        except RegistryUnavailableError:
            self._not_before = time.monotonic() + _AGAIN_SECONDS
            return None
        except StreamScorerError:
            return None  # not one of our records

    def _opened(self) -> Any:
        if self._reader is None:
            # Not at the start of the process: it loads compiled code.
            from stream_scorer.codec.records.record_reader import RecordReader  # noqa: PLC0415

            self._reader = RecordReader(self._registry, _FAMILY)
        return self._reader
