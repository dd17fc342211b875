"""The log sink: one line of the process's log for each event."""

from collections.abc import Callable
from typing import Any, Final

from stream_scorer.drift.sinks.delivery import Delivery
from stream_scorer.drift.sinks.message import SinkMessage

_FIELDS: Final = (
    "event_id", "episode", "kind", "change", "severity", "model", "model_version", "signal",
    "window_end", "onset", "reference", "estimate", "effect", "consequence_of", "snoozed",
)  # fmt: skip


class LogSink:
    """Writes events to a log.

    Args:
        logger: A structlog logger.
    """

    name = "log"

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def send(self, message: SinkMessage, heartbeat: Callable[[], None] = lambda: None) -> Delivery:  # noqa: ARG002 a line takes no time
        """Write an event."""
        fields = {name: message.event[name] for name in _FIELDS if name in message.event}
        self._logger.info("drift_event", **fields)
        return Delivery("sent", "")
