"""``/v1/decisions``: a request's transactions, from their JSON to their decisions.

It belongs to the event loop: nothing here blocks, and what threads bring arrives by a mailbox.
"""

from asyncio import Future
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.producing.sender import (
    NOT_STORED,
    TOO_LARGE,
    NotSentError,
    RecordTooLargeError,
)
from stream_scorer.serving.decisions import answers
from stream_scorer.serving.decisions.answers import DecisionAnswer
from stream_scorer.serving.decisions.asked import (
    AskedTransaction,
    asked_transactions,
    parsed,
    record_headers,
    report_stages,
)
from stream_scorer.serving.decisions.correlation import (
    Correlation,
    LocatedClients,
    PendingTransaction,
    Result,
    results_or_cancelled,
)
from stream_scorer.serving.decisions.gateway_parts import GatewayParts
from stream_scorer.serving.decisions.identity import key_of, key_of_id
from stream_scorer.serving.decisions.judging import Rejection, SharedJudge
from stream_scorer.serving.decisions.published import sender_of
from stream_scorer.serving.decisions.records import RequestBody
from stream_scorer.serving.decisions.window import WindowDecision
from stream_scorer.serving.following.scorers_watch import NO_BROKER
from stream_scorer.serving.web.messages import Request, Response
from stream_scorer.telemetry import (
    AdmissionRefused,
    GatewayObserved,
    ProvisionalAnswered,
    ProvisionalSettled,
    WindowShortened,
)

_AT_ONCE: Final = 50
"""Records of a batch that are encoded and judged before other requests have their turn."""


@dataclass(slots=True)
class _Slots:
    """Places in flight that a request has and no transaction uses yet."""

    left: int


_Begun = DecisionAnswer | tuple[Future[Result], AskedTransaction]


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
        when_read: Callable[[PendingTransaction, Callable[[], None]], None],
        timeout_seconds: float,
    ) -> None:
        self._parts = parts
        self._timeout = timeout_seconds
        self._judge = SharedJudge(parts.judge, parts.now_ms, parts.clock)
        self._refused: Counter[str] = Counter()
        self._provisional = 0
        self._located = LocatedClients()
        self.correlation = Correlation(self._find, when_read, self._ended)

    # -- requests -----------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        """Answer ``POST /v1/decisions``.

        Raises:
            Problem: The request is refused, or its only transaction has no decision.
        """
        self._refuse_overload()
        body = await parsed(request.body)
        self._parts.charge(request.caller, len(body.values) - 1)
        with self._slots(len(body.values)) as slots:
            found = await self._begin(body, request, slots)
        waiting = [each for each in found if not isinstance(each, DecisionAnswer)]
        produced, traced = self._parts.clock(), request.trace.recording
        pending = [self.correlation.find(each[1].key) for each in waiting] if traced else []
        if waiting:
            left = max(request.arrived + self._timeout - produced, 0.0)
            await results_or_cancelled([each[0] for each in waiting], left)
        if traced:
            report_stages(request, produced, self._parts.clock(), pending)
        client = request.caller.client
        every = [
            self._outcome(*each, client) if isinstance(each, tuple) else each for each in found
        ]
        return answers.of_batch(every) if body.batch else answers.of_one(every[0])

    async def fetch(self, request: Request) -> Response:
        """Answer ``GET /v1/decisions/{id}``.

        Raises:
            Problem: There is no such decision for this client.
        """
        key = key_of_id(request.parameters["id"])
        found = None if key is None else self._find(key)
        may_fetch = partial(self._located.may_fetch, request.caller)
        is_of = self._parts.published.is_of
        if found is not None and may_fetch(found.key, found.client, partial(is_of, found)):
            return answers.of_one(self._decided(found))
        pending = None if key is None else self.correlation.find(key)
        if pending is not None and may_fetch(
            pending.key, pending.client, lambda mark, _: mark == pending.mark
        ):
            return answers.of_one(self._pending_answer(pending))
        place = answers.place_in(request.query)
        if key is None or place is None or found is not None or pending is not None:
            raise answers.not_found()
        if self._parts.down() == NO_BROKER:
            # It would be known after some seconds, in which other reads would wait.
            raise answers.unavailable(NO_BROKER)
        return answers.of_one(await self._of_another_gateway(key, place, request))

    async def _of_another_gateway(
        self, key: bytes, place: tuple[int, int], request: Request
    ) -> DecisionAnswer:
        """Return the answer for a transaction that another gateway has produced.

        Raises:
            Problem: The place has no such record, or another's, or it was rejected; or no broker,
                or its decision is not read in time.
        """
        with answers.lookup_problems():
            stored = await self._parts.stored(*place)
            if stored is None:
                raise answers.not_found()
            (judged,) = await self._judge([stored.value])
            client, mark = sender_of(stored.headers)
            own = self._located.may_fetch(request.caller, key, client, lambda sent, _: sent == mark)
            if not own or isinstance(judged, Rejection):
                raise answers.not_found()
            if key_of(judged.customer_id, judged.transaction_id) != key:
                raise answers.not_found()
            # Only now: nobody waits for the decision of another client's transaction.
            known = not stored.decided or self._find(key) is not None
            if not known and not await self._parts.decisions_read(stored.key):
                raise answers.not_read()
        found = self._find(key)
        if found is not None:
            return self._decided(found)
        if stored.decided:
            raise answers.not_found()
        return answers.pending(key, self._parts.provisional(), place)

    def observe(self) -> None:
        """Report the state; called each second."""
        parts, own = self._parts, self._parts.window
        parts.admission.advance()
        own.expire(parts.now_ms())
        # A repeat of what is older is a new transaction, pending or decided.
        self.correlation.expire(parts.clock() - own.seconds)
        in_flight, limit = parts.admission.in_flight, parts.admission.limit
        parts.listener(GatewayObserved(in_flight, limit, len(own), own.memory))
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

    async def _begin(self, body: RequestBody, request: Request, slots: _Slots) -> "list[_Begun]":
        found: list[_Begun] = []
        for first in range(0, len(body.values), _AT_ONCE):
            values = body.values[first : first + _AT_ONCE]
            asked = await asked_transactions(values, self._parts.maker, self._judge)
            found += [
                each if isinstance(each, DecisionAnswer) else self._take(each, request, slots)
                for each in asked
            ]
        return found

    def _take(self, asked: AskedTransaction, request: Request, slots: _Slots) -> "_Begun":
        """Answer a transaction that is known, or produce it."""
        known = self._find(asked.key)
        if known is not None:
            return self._repeated(known, asked)
        pending = self.correlation.find(asked.key)
        if pending is not None:
            if pending.mark != asked.record.mark:
                return answers.another_body()
            if not self.correlation.may_wait(pending):
                return answers.too_many_waiting()
            return self.correlation.wait(pending), asked
        return self._produce(asked, request, slots)

    def _produce(self, asked: AskedTransaction, request: Request, slots: _Slots) -> "_Begun":
        record, client = asked.record, request.caller.client
        try:
            key = self._parts.maker.key(asked.customer, record)
        except JsonValueError as error:
            return answers.rejected(Rejection("SCHEMA", f"the key: {error}"))
        pending = self.correlation.begin(asked.key, record.mark, client, request.arrived)
        pending.record_key = key
        future = self.correlation.wait(pending)
        slots.left -= 1
        try:
            self._parts.sender.send(pending, key, record.value, record_headers(request, record))
        except RecordTooLargeError:
            self.correlation.delivered(pending, -1, TOO_LARGE)
        except NotSentError:
            self.correlation.delivered(pending, -1, NOT_STORED)
        except BaseException:
            # Nobody else would end what is pending and was not sent.
            self.correlation.delivered(pending, -1, NOT_STORED)
            raise
        return future, asked

    def _find(self, key: bytes) -> WindowDecision | None:
        return self._parts.window.find(key, self._parts.now_ms())

    # -- answers ------------------------------------------------------------------------------

    def _outcome(
        self, future: Future[Result], asked: AskedTransaction, client: str
    ) -> DecisionAnswer:
        """Return the answer for a transaction, decided or not."""
        if future.cancelled():
            pending = self.correlation.find(asked.key)
            if pending is None:
                return answers.unavailable_answer()
            self._provisional += 1
            self._located.add(pending.key, client, pending.mark, asked.fields)
            if not pending.overdue:
                pending.overdue = True
                self._parts.admission.overdue()
            return self._pending_answer(pending)
        result = future.result()
        return (
            self._repeated(result, asked)
            if isinstance(result, WindowDecision)
            else answers.of(result)
        )

    def _pending_answer(self, pending: PendingTransaction) -> DecisionAnswer:
        if not pending.provisional:
            pending.provisional = self._parts.provisional()
        place = None if pending.offset < 0 else (pending.partition, pending.offset)
        return answers.pending(pending.key, pending.provisional, place)

    def _repeated(self, found: WindowDecision, asked: AskedTransaction) -> DecisionAnswer:
        """Return the first decision of a transaction, if it had this body."""
        same = self._parts.published.is_of(found, asked.record.mark, asked.fields)
        return self._decided(found) if same else answers.another_body()

    def _decided(self, found: WindowDecision) -> DecisionAnswer:
        return answers.decided(self._parts.published.document(found))

    def _ended(self, pending: PendingTransaction, result: Result) -> None:
        """Note that a transaction is not pending any more."""
        if pending.overdue:
            self._parts.admission.ended_overdue()
        elif isinstance(result, WindowDecision | Rejection):
            self._parts.admission.decided(self._parts.clock() - pending.began)
        else:
            self._parts.admission.released()
        if pending.provisional and isinstance(result, WindowDecision):
            decision = str(self._parts.published.fields(result.payload)["decision"])
            self._parts.listener(ProvisionalSettled(pending.provisional, decision))
