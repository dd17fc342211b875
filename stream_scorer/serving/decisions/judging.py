"""Judges records before they are produced, with the scorers' own code: decoding and validation."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.mapped import EventDecoder
from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import string_views
from stream_scorer.core.events.validation import reason_of, validate
from stream_scorer.ports import BytesColumn, RawRecords

_MANY: Final = 8
"""Records that share the cost of a call well enough."""
_RESTS: Final = 4.0
_REST_MOST_SECONDS: Final = 0.002
"""As exact as the event loop's timers, which are late by up to 1 ms."""

SKIPPED: Final = "SKIPPED"
"""Reason for a record that ``[record] where`` does not choose: it is not a transaction."""
_COMPARED: Final = (
    "customer_id", "transaction_id", "terminal_id", "event_time", "amount_minor", "currency",
    "channel",
)  # fmt: skip

_NUMBERS: Final = frozenset({"event_time", "amount_minor"})


def texts_of(column: pa.Array) -> list[str | None]:
    """Return an Arrow string column as a list; for a few rows in a tenth of Arrow's own time.

    >>> texts_of(pa.array(["a", "", "bc"]).slice(1))
    ['', 'bc']
    """
    if column.null_count or not len(column):
        return list(column.to_pylist())
    offsets, data = string_views(column)
    texts = BytesColumn(data, offsets.astype(np.int64))
    return [str(each, "utf-8") for each in texts.to_list()]


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """A valid transaction, by the fields that its decision repeats.

    Attributes:
        customer_id: The customer.
        transaction_id: The id.
        fields: Terminal, event time (ms), amount, currency and channel, by name.
    """

    customer_id: str
    transaction_id: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record is not a valid transaction.

    Attributes:
        reason: A value of ``RejectReason``, or ``SKIPPED``.
        detail: A sentence; begins with the paths of the values if there are any.
    """

    reason: str
    detail: str


Judgement = JudgedEvent | Rejection


class SharedJudge:
    """Judges the records of requests that come together in one call, which costs as much as one.

    It belongs to the event loop. A request waits for the rest of the loop's current round, in which
    the other requests of that moment are parsed.

    A call takes some 0.3 ms, whether for one record or for ten. Without a rest between calls, 2,000
    requests a second would take most of a core for judging alone. So a call for few records is
    followed by a rest of four times its duration, but of 2 ms at most. Requests that come meanwhile
    share the next call. A request that comes after the rest waits for nothing.

    Args:
        judge: Judges n values at a Kafka timestamp; see :class:`Judge`.
        now_ms: The wall clock.
        clock: Seconds; only differences count.
    """

    def __init__(
        self,
        judge: Callable[[Sequence[bytes], int], list[Judgement]],
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._judge = judge
        self._now_ms = now_ms
        self._clock = clock
        self._rested = -math.inf
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[list[Judgement]]]] = []

    async def __call__(self, values: Sequence[bytes]) -> list[Judgement]:
        """Judge n records as if they were produced now.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Judgement]] = loop.create_future()
        if not self._waiting:
            rest = self._rested - self._clock()
            if rest > 0.0:
                loop.call_later(rest, self._run)
            else:
                loop.call_soon(self._run)
        self._waiting.append((values, future))
        return await future

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        every = [value for values, _ in waiting for value in values]
        began = self._clock()
        try:
            judged = self._judge(every, self._now_ms())
        except Exception:  # noqa: BLE001 below, only the request whose record it is fails
            for values, future in waiting:
                self._run_alone(values, future)
            return
        if len(every) < _MANY:
            now = self._clock()
            self._rested = now + min(_RESTS * (now - began), _REST_MOST_SECONDS)
        first = 0
        for values, future in waiting:
            if not future.done():
                future.set_result(judged[first : first + len(values)])
            first += len(values)

    def _run_alone(
        self, values: Sequence[bytes], future: "asyncio.Future[list[Judgement]]"
    ) -> None:  # fmt: skip
        if future.done():
            return
        try:
            future.set_result(self._judge(values, self._now_ms()))
        except Exception as error:  # noqa: BLE001 it is raised in the request
            future.set_exception(error)


class Judge:
    """Judges records by the active mapping.

    Args:
        decoders: A decoder for each mapping; used by one thread.
        plans: Returns the plans of which one decides the next record: first the newest that is
            active in a partition, then others that may be, or may begin.
    """

    def __init__(self, decoders: EventDecoders, plans: Callable[[], Sequence[Plan]]) -> None:
        self._decoders = decoders
        self._plans = plans

    def __call__(self, values: Sequence[bytes], now_ms: int) -> list[Judgement]:
        """Judge n records as if they were produced now.

        Args:
            values: The records' values.
            now_ms: Their Kafka timestamp.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        active, *later = self._plans()
        found = self._by(active, values, now_ms)
        for row, each in enumerate(found):
            # A plan that is not active yet may be, in the partition of this customer.
            for plan in later if isinstance(each, Rejection) else ():
                (other,) = self._by(plan, values[row : row + 1], now_ms)
                if isinstance(other, JudgedEvent):
                    found[row] = other
                    break
        return found

    def prepared(self, plan: Plan, value: bytes, now_ms: int) -> EventDecoder:
        """Return a decoder of a plan that has read a record, and so has compiled what reads it.

        Another thread may call it while this judges. The decoder is for :meth:`add`.

        Args:
            plan: The plan.
            value: The record's value.
            now_ms: Its Kafka timestamp.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoders = self._decoders.apart()
        Judge(decoders, lambda: (plan,))([value], now_ms)
        return decoders.of(plan)

    def add(self, plan: Plan, decoder: EventDecoder) -> None:
        """Judge by a plan with a decoder that :meth:`prepared` has returned."""
        self._decoders.add(plan, decoder)

    def _by(self, plan: Plan, values: Sequence[bytes], now_ms: int) -> list[Judgement]:
        count = len(values)
        raw = RawRecords(
            BytesColumn.of(values),
            BytesColumn.nulls(count),
            None,
            np.zeros(count, np.int32),
            np.arange(count, dtype=np.int64),
            np.full(count, now_ms, np.int64),
        )
        events, rows, undecodable = self._decoders.of(plan).decode(raw)
        found: list[Judgement] = [
            Rejection(SKIPPED, "[record] where of events.toml does not choose it")
        ] * count
        for row, reason, detail in zip(
            undecodable.rows.tolist(), undecodable.reasons, undecodable.details, strict=True
        ):
            found[row] = Rejection(str(reason), detail)
        codes = validate(events, plan).tolist()
        columns: list[list[Any]] = [
            events.int64(name).tolist()
            if name in _NUMBERS
            else texts_of(events.records.column(name))
            for name in _COMPARED
        ]
        for place, row in enumerate(rows.tolist()):
            if codes[place]:
                reason, detail = reason_of(codes[place], plan.events)
                found[row] = Rejection(str(reason), detail)
                continue
            customer, transaction, *rest = (column[place] for column in columns)
            fields = dict(zip(_COMPARED[2:], rest, strict=True))
            found[row] = JudgedEvent(customer, transaction, fields)
        return found
