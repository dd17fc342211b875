"""Brings requests and decisions together: by the place of the record, and by the transaction.

A request's record has a place, its partition and offset, which the broker returns. A decision and a
dead letter name the place of their record. The answer is the transaction's decision with the lowest
offset: usually that of this place, otherwise an earlier one that came through another gateway.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.serving.decisions.identity import BodyMark
from stream_scorer.serving.decisions.judging import Rejection
from stream_scorer.serving.decisions.window import WindowDecision

_EARLY_MOST: Final = 10_000
"""Dead letters that are kept because their place may not be known here yet."""


@dataclass(frozen=True, slots=True)
class AlreadyDecided:
    """The scorers have the transaction in the customer's history, and no window has its decision.

    It is older than the window.
    """


@dataclass(frozen=True, slots=True)
class NotProduced:
    """The broker has not acknowledged the record."""


Result = WindowDecision | Rejection | AlreadyDecided | NotProduced


@dataclass(slots=True, eq=False)
class PendingTransaction:
    """A transaction that was produced here and is not decided.

    Attributes:
        key: Its key.
        mark: Its body.
        client: The client that sent it.
        began: When its request came, seconds of the clock.
        partition: Its partition; -1 until the broker has acknowledged it.
        offset: Its offset.
        waiting: Requests that wait for it.
        provisional: The outcome that a request was answered with meanwhile; empty for none.
        record_key: The record's key.
        overdue: Whether a request was answered provisionally because no decision came in time.
        acknowledged: When the broker's acknowledgement was read, seconds of ``perf_counter``; 0:
            not yet.
    """

    key: bytes
    mark: BodyMark
    client: str
    began: float
    partition: int = -1
    offset: int = -1
    waiting: list["asyncio.Future[Result]"] = field(default_factory=list)
    provisional: str = ""
    record_key: bytes = b""
    overdue: bool = False
    acknowledged: float = 0.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of the input topic.

    Attributes:
        partition: Partition of the rejected record.
        offset: Its offset.
        rejection: Why it was rejected.
    """

    partition: int
    offset: int
    rejection: Rejection


class Correlation:
    """The transactions that wait for their decision. It belongs to the event loop.

    Args:
        find: Returns a transaction's first decision from the window.
        when_read: Calls a function when all decisions were read that were there when a dead letter
            of a pending transaction came.
        ended: Called with each transaction that is not pending any more, and its result.
    """

    def __init__(
        self,
        find: Callable[[bytes], WindowDecision | None],
        when_read: Callable[[PendingTransaction, Callable[[], None]], None],
        ended: Callable[[PendingTransaction, Result], None],
    ) -> None:
        self._find = find
        self._when_read = when_read
        self._ended = ended
        self._by_key: dict[bytes, PendingTransaction] = {}
        self._by_place: dict[tuple[int, int], PendingTransaction] = {}
        self._early: OrderedDict[tuple[int, int], Rejection] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: bytes) -> bool:
        return key in self._by_key

    def find(self, key: bytes) -> PendingTransaction | None:
        """Return the pending transaction of a key."""
        return self._by_key.get(key)

    def begin(self, key: bytes, mark: BodyMark, client: str, began: float) -> PendingTransaction:
        """Add a transaction that is about to be produced."""
        pending = self._by_key[key] = PendingTransaction(key, mark, client, began)
        return pending

    def wait(self, pending: PendingTransaction) -> "asyncio.Future[Result]":
        """Return a future with the result of a pending transaction."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        pending.waiting = [each for each in pending.waiting if not each.done()]
        pending.waiting.append(future)
        return future

    def delivered(self, pending: PendingTransaction, partition: int, offset: int) -> None:
        """Note the place of a record; a negative offset: the broker did not acknowledge it."""
        if self._by_key.get(pending.key) is not pending:
            return  # it was decided before the broker's answer was read here
        if offset < 0:
            self._end(pending, NotProduced())
            return
        pending.partition, pending.offset = partition, offset
        pending.acknowledged = time.perf_counter()
        self._by_place[partition, offset] = pending
        self.decided([pending.key])
        rejection = self._early.pop((partition, offset), None)
        if rejection is not None:
            self._rejected(pending, rejection)

    def decided(self, keys: Iterable[bytes]) -> None:
        """Note transactions whose decision the window has now."""
        for key in keys:
            pending = self._by_key.get(key)
            found = None if pending is None else self._find(key)
            if pending is None or found is None:
                continue
            later = found.partition == pending.partition and found.offset > pending.offset
            if not later or pending.offset < 0:
                self._end(pending, found)

    def rejected(self, letters: Iterable[Letter]) -> None:
        """Note dead letters."""
        for letter in letters:
            place = letter.partition, letter.offset
            pending = self._by_place.get(place)
            if pending is not None:
                self._rejected(pending, letter.rejection)
                continue
            self._early[place] = letter.rejection
            if len(self._early) > _EARLY_MOST:
                self._early.popitem(last=False)

    def _rejected(self, pending: PendingTransaction, rejection: Rejection) -> None:
        if rejection.reason != RejectReason.DUPLICATE:
            self._end(pending, rejection)
            return
        self.decided([pending.key])
        if self._by_key.get(pending.key) is pending:
            # The two topics are read apart: the first decision may not have been read yet.
            self._when_read(pending, lambda: self._read(pending))

    def _read(self, pending: PendingTransaction) -> None:
        self.decided([pending.key])
        if self._by_key.get(pending.key) is pending:
            self._end(pending, AlreadyDecided())

    def _end(self, pending: PendingTransaction, result: Result) -> None:
        if self._by_key.get(pending.key) is not pending:
            return
        del self._by_key[pending.key]
        self._by_place.pop((pending.partition, pending.offset), None)
        self._ended(pending, result)
        for future in pending.waiting:
            if not future.done():
                future.set_result(result)
