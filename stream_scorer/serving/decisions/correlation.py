"""Brings requests and decisions together: by the place of the record, and by the transaction.

A request's record has a place, its partition and offset, which the broker returns. A decision and a
dead letter name the place of their record. The answer is the transaction's decision with the lowest
offset: usually that of this place, otherwise an earlier one that came through another gateway.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

import msgspec

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.producing.sender import TOO_LARGE
from stream_scorer.serving.decisions.identity import BodyMark
from stream_scorer.serving.decisions.judging import Rejection
from stream_scorer.serving.decisions.window import WindowDecision
from stream_scorer.serving.web.messages import Caller

_LOCATED_MOST: Final = 50_000
"""Answers with a location that are remembered; about 600 bytes each."""
_WAITING_MOST: Final = 64
"""Requests that may wait for one transaction."""
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


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The record is larger than the broker or the producer accepts."""


@dataclass(frozen=True, slots=True)
class TooOld:
    """Neither a decision nor a dead letter came for so long that none is expected any more."""


Result = WindowDecision | Rejection | AlreadyDecided | NotProduced | TooLarge | TooOld


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


class LocatedClients:
    """The clients that were answered with a transaction's location, so that they may fetch it.

    The record, and so its decision, names one client only: the first whose record was decided.
    Others have sent the same body. The oldest answers are forgotten, so that memory is bounded.
    """

    def __init__(self) -> None:
        self._bodies: OrderedDict[tuple[bytes, str], tuple[BodyMark, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bodies)

    def add(self, key: bytes, client: str, mark: BodyMark, fields: Mapping[str, Any]) -> None:
        """Note that a client that sent a body was told where its transaction is.

        Args:
            key: The transaction's key.
            client: The client.
            mark: Of the body.
            fields: What a decision repeats of the body.
        """
        # As bytes, which need less memory.
        self._bodies[key, client] = mark, msgspec.json.encode(fields)
        self._bodies.move_to_end((key, client))
        if len(self._bodies) > _LOCATED_MOST:
            self._bodies.popitem(last=False)

    def may_fetch(
        self, caller: Caller, key: bytes, client: str,
        same: Callable[[BodyMark, Mapping[str, Any]], bool],
    ) -> bool:  # fmt: skip
        """Return whether a caller may fetch a transaction.

        Args:
            caller: The caller.
            key: The transaction's key.
            client: The client that its record names.
            same: Returns whether it has a body, given as to :meth:`add`.
        """
        if caller.may("read") or client == caller.client:
            return True
        sent = self._bodies.get((key, caller.client))
        return sent is not None and same(sent[0], msgspec.json.decode(sent[1]))


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

    def may_wait(self, pending: PendingTransaction) -> bool:
        """Return whether one more request may wait for a pending transaction."""
        # Requests whose time is over wait no more.
        pending.waiting = [each for each in pending.waiting if not each.done()]
        return len(pending.waiting) < _WAITING_MOST

    def wait(self, pending: PendingTransaction) -> "asyncio.Future[Result]":
        """Return a future with the result of a pending transaction; cancel it to wait no more."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        pending.waiting.append(future)
        return future

    def delivered(self, pending: PendingTransaction, partition: int, offset: int) -> None:
        """Note the place of a record; a negative offset: the sender's, why it is not stored."""
        if self._by_key.get(pending.key) is not pending:
            return  # it was decided before the broker's answer was read here
        if offset < 0:
            self._end(pending, TooLarge() if offset == TOO_LARGE else NotProduced())
            return
        pending.partition, pending.offset = partition, offset
        pending.acknowledged = time.perf_counter()
        self._by_place[partition, offset] = pending
        self._look(pending)
        rejection = self._early.pop((partition, offset), None)
        if rejection is not None:
            self._rejected(pending, rejection)

    def decided(self, decisions: Iterable[WindowDecision]) -> None:
        """Note decisions, in the order of their topic, that the window was given.

        A full window may have dropped them already: who waits for a decision gets it all the same.
        """
        for one in decisions:
            pending = self._by_key.get(one.key)
            if pending is not None:
                self._look(pending, one)

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

    def expire(self, began: float) -> None:
        """End transactions whose request came before a moment, seconds of the clock."""
        # Almost in the order in which their requests came: the next call ends what this one misses.
        old = takewhile(lambda pending: pending.began <= began, self._by_key.values())
        for pending in list(old):
            self._end(pending, TooOld())

    def _look(self, pending: PendingTransaction, published: WindowDecision | None = None) -> None:
        """End a transaction if its first decision is known: from the window, or as published."""
        found = self._find(pending.key) or published
        if found is None:
            return
        # That of a later record of this transaction: its own decision is still to be read.
        later = found.partition == pending.partition and found.offset > pending.offset
        if not later:
            self._end(pending, found)

    def _rejected(self, pending: PendingTransaction, rejection: Rejection) -> None:
        if rejection.reason != RejectReason.DUPLICATE:
            self._end(pending, rejection)
            return
        self._look(pending)
        if self._by_key.get(pending.key) is pending:
            # The two topics are read apart: the first decision may not have been read yet.
            self._when_read(pending, lambda: self._read(pending))

    def _read(self, pending: PendingTransaction) -> None:
        self._look(pending)
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


async def results_or_cancelled(futures: "Sequence[asyncio.Future[Result]]", seconds: float) -> None:
    """Wait for results; those that do not come in time, or before the client leaves, are cancelled.

    What is not cancelled would count as a request that waits, until the transaction is decided.
    """
    try:
        await asyncio.wait(futures, timeout=seconds)
    finally:
        for future in futures:
            future.cancel()
