"""What a gateway works with."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stream_scorer.serving.decisions.admission import Admission
from stream_scorer.serving.decisions.asked import Charge
from stream_scorer.serving.decisions.judging import Judgement
from stream_scorer.serving.decisions.published import PublishedDecisions
from stream_scorer.serving.decisions.records import RecordMaker
from stream_scorer.serving.decisions.window import DecisionWindow
from stream_scorer.serving.following.topic_lookups import StoredRecord
from stream_scorer.telemetry import Listener


class SendRecord(Protocol):
    """Produces a record; see :class:`~stream_scorer.producing.sender.Sender`."""

    def send(  # noqa: D102 see Sender
        self, token: Any, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What a gateway works with.

    Attributes:
        maker: Encodes records.
        judge: Judges n values at a Kafka timestamp (ms).
        window: The decisions of the last hour.
        published: Decisions as JSON.
        admission: Limits what is in flight.
        sender: Produces.
        provisional: Returns the outcome of a transaction that is not decided in time.
        down: Returns why nothing can be decided now; empty if it can.
        stored: Returns the record of a partition and offset; None if there is none. Raises
            ``UnavailableError`` or ``TimeoutError`` without a broker, and ``CallsFullError`` while
            too many records are looked up.
        decisions_read: Waits until the decisions of a record's key that are published by now are
            read, and returns whether they are; False after a second. Raises as ``stored``.
        listener: Notified of refusals and provisional answers.
        now_ms: The wall clock, ms since the epoch.
        clock: ``Request.arrived``'s clock, seconds.
        charge: Counts a caller's further requests: those of a batch. Raises a ``Problem``.
    """

    maker: RecordMaker
    judge: Callable[[Sequence[bytes], int], list[Judgement]]
    window: DecisionWindow
    published: PublishedDecisions
    admission: Admission
    sender: SendRecord
    provisional: Callable[[], str]
    down: Callable[[], str]
    stored: Callable[[int, int], Awaitable[StoredRecord | None]]
    decisions_read: Callable[[bytes], Awaitable[bool]]
    listener: Listener
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    clock: Callable[[], float] = time.perf_counter
    charge: Charge = lambda _caller, _requests: None
