"""``/v1/decisions``: a request's transactions, from their JSON to their decisions.

It belongs to the event loop: nothing here blocks, and what threads bring arrives by a mailbox.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.ports import BODY_HEADER, CLIENT_HEADER
from stream_scorer.serving.decisions import answers
from stream_scorer.serving.decisions.admission import Admission
from stream_scorer.serving.decisions.answers import Answer
from stream_scorer.serving.decisions.correlation import Correlation, Pending, Result
from stream_scorer.serving.decisions.identity import key_of, key_of_id
from stream_scorer.serving.decisions.judging import Judgement, Rejection
from stream_scorer.serving.decisions.published import PublishedDecisions
from stream_scorer.serving.decisions.records import Body, EncodedRecord, RecordMaker, parse_body
from stream_scorer.serving.decisions.sender import SendQueueFullError
from stream_scorer.serving.decisions.window import Decided, Window
from stream_scorer.serving.web.messages import Request, Response
from stream_scorer.telemetry import (
    AdmissionRefused,
    GatewayObserved,
    Listener,
    ProvisionalAnswered,
    ProvisionalSettled,
    WindowShortened,
)

_AT_ONCE: Final = 50
"""Records of a batch that are encoded and judged before other requests have their turn."""
_LARGE_BYTES: Final = 65_536
"""A larger body is parsed on a thread."""
_WAITING_MOST: Final = 64
"""Requests that may wait for one transaction."""
_CLIENT_BYTES: Final = 255


class SendRecord(Protocol):
    """Produces a record; see :class:`~stream_scorer.serving.decisions.sender.Sender`."""

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
        listener: Notified of refusals and provisional answers.
        now_ms: The wall clock, ms since the epoch.
        clock: ``Request.arrived``'s clock, seconds.
    """

    maker: RecordMaker
    judge: Callable[[Sequence[bytes], int], list[Judgement]]
    window: Window
    published: PublishedDecisions
    admission: Admission
    sender: SendRecord
    provisional: Callable[[], str]
    down: Callable[[], str]
    listener: Listener
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    clock: Callable[[], float] = time.perf_counter


@dataclass(slots=True)
class _Slots:
    """Places in flight that a request has and no transaction uses yet."""

    left: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A valid transaction of a request."""

    key: bytes
    record: EncodedRecord
    fields: dict[str, Any]


_Begun = Answer | tuple["asyncio.Future[Result]", _Asked]


class Gateway:
    """Answers requests.

    Args:
        parts: What it works with.
        when_read: As for :class:`Correlation`.
        timeout_seconds: Time from a request's arrival to a provisional answer.
    """

    def __init__(
        self,
        parts: GatewayParts,
        when_read: Callable[[Pending, Callable[[], None]], None],
        timeout_seconds: float,
    ) -> None:
        self._parts = parts
        self._timeout = timeout_seconds
        self._refused: Counter[str] = Counter()
        self._provisional = 0
        self.correlation = Correlation(self._find, when_read, self._ended)

    # -- requests -----------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        """Answer ``POST /v1/decisions``.

        Raises:
            Problem: The request is refused, or its only transaction has no decision.
        """
        self._refuse_overload()
        body = await self._parsed(request.body)
        with self._slots(len(body.values)) as slots:
            found = await self._begin(body, request, slots)
        waiting = [each[0] for each in found if not isinstance(each, Answer)]
        left = request.arrived + self._timeout - self._parts.clock()
        if waiting:
            await asyncio.wait(waiting, timeout=max(left, 0.0))
        every = [each if isinstance(each, Answer) else self._outcome(*each) for each in found]
        return answers.of_batch(every) if body.batch else answers.of_one(every[0])

    async def fetch(self, request: Request) -> Response:
        """Answer ``GET /v1/decisions/{id}``.

        Raises:
            Problem: There is no such decision for this client.
        """
        key = key_of_id(request.parameters["id"])
        found = None if key is None else self._find(key)
        caller = request.caller
        if found is not None and (caller.may("read") or found.client == caller.client):
            return answers.of_one(self._decided(found))
        pending = None if key is None else self.correlation.find(key)
        if pending is not None and (caller.may("read") or pending.client == caller.client):
            return answers.of_one(self._pending_answer(pending))
        raise answers.not_found()

    def observe(self) -> None:
        """Report the state; called each second."""
        parts = self._parts
        parts.admission.advance()
        parts.window.expire(parts.now_ms())
        parts.listener(
            GatewayObserved(
                parts.admission.in_flight, parts.admission.limit, len(parts.window),
                parts.window.memory,
            )
        )  # fmt: skip
        for cause, count in self._refused.items():
            parts.listener(AdmissionRefused(cause, count))
        self._refused.clear()
        if self._provisional:
            parts.listener(ProvisionalAnswered(self._provisional))
            self._provisional = 0
        if shortened := parts.window.shortened():
            parts.listener(WindowShortened(shortened))

    # -- admission ----------------------------------------------------------------------------

    def _refuse_overload(self) -> None:
        """Refuse before the body is parsed, which would take time from accepted requests."""
        if why := self._parts.down():
            self._refused["unavailable"] += 1
            raise answers.unavailable(why)
        refused = self._parts.admission.full()
        if refused is not None:
            self._refused[refused.cause] += 1
            raise answers.overloaded(refused)

    @contextmanager
    def _slots(self, count: int) -> Iterator[_Slots]:
        refused = self._parts.admission.admit(count)
        if refused is not None:
            self._refused[refused.cause] += 1
            raise answers.overloaded(refused)
        slots = _Slots(count)
        try:
            yield slots
        finally:
            if slots.left:
                self._parts.admission.released(slots.left)

    # -- transactions -------------------------------------------------------------------------

    async def _parsed(self, body: bytes) -> Body:
        try:
            if len(body) > _LARGE_BYTES:
                return await asyncio.to_thread(parse_body, body)
            return parse_body(body)
        except JsonValueError as error:
            raise answers.invalid_json(error) from None

    async def _begin(self, body: Body, request: Request, slots: _Slots) -> "list[_Begun]":
        found: list[_Begun] = []
        for first in range(0, len(body.values), _AT_ONCE):
            if first:
                await asyncio.sleep(0)
            found += [
                each if isinstance(each, Answer) else self._take(each, request, slots)
                for each in self._asked(body.values[first : first + _AT_ONCE])
            ]
        return found

    def _asked(self, values: Sequence[Any]) -> list[Answer | _Asked]:
        """Encode and judge some records."""
        found: list[Answer | _Asked | None] = [None] * len(values)
        records: list[EncodedRecord] = []
        rows: list[int] = []
        for row, value in enumerate(values):
            try:
                records.append(self._parts.maker.record(value))
                rows.append(row)
            except JsonValueError as error:
                found[row] = answers.rejected(Rejection("SCHEMA", str(error)))
        if records:
            try:
                judged = self._parts.judge([each.value for each in records], self._parts.now_ms())
            except RegistryUnavailableError:
                raise answers.unavailable("the schema registry does not answer") from None
            for row, record, judgement in zip(rows, records, judged, strict=True):
                if isinstance(judgement, Rejection):
                    found[row] = answers.rejected(judgement)
                else:
                    key = key_of(judgement.customer_id, judgement.transaction_id)
                    own = {"customer_id": judgement.customer_id, **judgement.fields}
                    found[row] = _Asked(key, record, own)
        return [each for each in found if each is not None]

    def _take(self, asked: _Asked, request: Request, slots: _Slots) -> "_Begun":
        """Answer a transaction that is known, or produce it."""
        known = self._find(asked.key)
        if known is not None:
            return self._repeated(known, asked)
        pending = self.correlation.find(asked.key)
        if pending is not None:
            if pending.mark != asked.record.mark:
                return answers.another_body()
            if len(pending.waiting) >= _WAITING_MOST:
                return answers.too_many_waiting()
            return self.correlation.wait(pending), asked
        return self._produce(asked, request, slots)

    def _produce(self, asked: _Asked, request: Request, slots: _Slots) -> "_Begun":
        record, client = asked.record, request.caller.client
        try:
            key = self._parts.maker.key(asked.fields["customer_id"], record)
        except JsonValueError as error:
            return answers.rejected(Rejection("SCHEMA", f"the key: {error}"))
        pending = self.correlation.begin(asked.key, record.mark, client, request.arrived)
        pending.record_key = key
        future = self.correlation.wait(pending)
        slots.left -= 1
        try:
            self._parts.sender.send(pending, key, record.value, _headers(request, record))
        except SendQueueFullError:
            self.correlation.delivered(pending, -1, -1)
        return future, asked

    def _find(self, key: bytes) -> Decided | None:
        return self._parts.window.find(key, self._parts.now_ms())

    # -- answers ------------------------------------------------------------------------------

    def _outcome(self, future: "asyncio.Future[Result]", asked: _Asked) -> Answer:
        """Return the answer for a transaction, decided or not."""
        if not future.done():
            future.cancel()
            pending = self.correlation.find(asked.key)
            if pending is None:
                return answers.unavailable_answer()
            self._provisional += 1
            return self._pending_answer(pending)
        result = future.result()
        return self._repeated(result, asked) if isinstance(result, Decided) else answers.of(result)

    def _pending_answer(self, pending: Pending) -> Answer:
        if not pending.provisional:
            pending.provisional = self._parts.provisional()
        return answers.pending(pending.key, pending.provisional)

    def _repeated(self, found: Decided, asked: _Asked) -> Answer:
        """Return the first decision of a transaction, if it had this body."""
        mark = asked.record.mark
        if found.mark is not None and found.mark.schema_id == mark.schema_id:
            same = found.mark == mark
        else:
            # The record does not tell its body: it came through the stream. What the decision
            # repeats of it must agree.
            same = answers.agrees(self._parts.published.fields(found.payload), asked.fields)
        return self._decided(found) if same else answers.another_body()

    def _decided(self, found: Decided) -> Answer:
        return answers.decided(self._parts.published.document(found))

    def _ended(self, pending: Pending, result: Result) -> None:
        """Note that a transaction is not pending any more."""
        if isinstance(result, Decided | Rejection):
            self._parts.admission.decided(self._parts.clock() - pending.began)
        else:
            self._parts.admission.released()
        if pending.provisional and isinstance(result, Decided):
            decision = str(self._parts.published.fields(result.payload)["decision"])
            self._parts.listener(ProvisionalSettled(pending.provisional, decision))


def _headers(request: Request, record: EncodedRecord) -> list[tuple[str, bytes]]:
    """Return the headers of a record: the trace context, the client and the body's mark."""
    found = [
        (name, value.encode("ascii", "ignore"))
        for name, value in (
            ("traceparent", request.traceparent), ("tracestate", request.tracestate)
        )
        if value
    ]  # fmt: skip
    client = request.caller.client.encode()
    if len(client) <= _CLIENT_BYTES:
        found.append((CLIENT_HEADER, client))
    return [*found, (BODY_HEADER, record.mark.header)]
