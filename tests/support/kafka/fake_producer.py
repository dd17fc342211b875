"""A transactional producer with librdkafka's behaviour, on the fake broker.

It replaces ``ColumnProducer``; tests/contract/test_transactions.py checks both for one contract.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from numpy.typing import NDArray

from stream_scorer.ports import BytesColumn, Headers
from tests.support.kafka.fake_broker import Broker, Message, Place, Refused
from tests.support.kafka.fake_network import Api, Lost, Network

_FENCED = (KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_BACKOFF_SECONDS = 0.002
Answer = TypeVar("Answer")


class FakeProducer:
    """A client of one transactional id.

    Args:
        broker: Whose.
        network: The way there.
        options: As ``ColumnProducer`` takes them.
        who: Which process this is, for the broker's list of births.
    """

    def __init__(
        self, broker: Broker, network: Network, options: Mapping[str, Any], who: str = ""
    ) -> None:
        self.identity = (-1, -1)
        self._broker = broker
        self._network = network
        self._name: str = options["transactional.id"]
        self._told: Callable[[KafkaError], None] = options.get("error_cb", lambda _: None)
        self._timeout: float = options["transaction.timeout.ms"] / 1_000
        self._socket: float = options["socket.timeout.ms"] / 1_000
        self._who = who
        self._open = False
        self._queue: list[tuple[Place, list[Message]]] = []
        self._sequences: dict[Place, int] = {}
        self._places: set[Place] = set()
        self._used = False
        self._failed: KafkaError | None = None
        self._fatal: KafkaError | None = None
        self._fatal_told = True

    # -- one request ------------------------------------------------------------------------

    def _request(self, api: Api, ask: Callable[[], Answer], seconds: float) -> Answer:
        """Ask until there is an answer, or for so long; raises KafkaException then, or Refused."""
        clock = self._broker.clock
        until = clock.now + seconds
        while True:
            left = until - clock.now
            try:
                return self._network.send(api, ask, max(min(self._socket, left), 0.0))
            except Refused as refused:
                if refused.code != KafkaError.CONCURRENT_TRANSACTIONS:
                    raise
                clock.sleep(_BACKOFF_SECONDS)
            except Lost:
                pass
            if clock.now >= until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out", False, True))

    def _end_with(self, code: int) -> KafkaException:
        """Note that the client cannot continue; return the error."""
        code = KafkaError._FENCED if code in _FENCED else code
        self._fatal = KafkaError(code, KafkaError(code).str(), True)
        self._fatal_told = False
        return KafkaException(self._fatal)

    def _fail(self, code: int) -> KafkaException:
        """Note that the transaction must be aborted; return the error."""
        self._failed = KafkaError(code, KafkaError(code).str(), False, False, True)
        return KafkaException(self._failed)

    def _check(self) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._failed is not None:
            raise KafkaException(self._failed)

    def _state(self, *, open_: bool) -> None:
        if self._open != open_:
            raise KafkaException(KafkaError(KafkaError._STATE, "wrong state"))

    # -- the port ---------------------------------------------------------------------------

    def init_transactions(self, seconds: float) -> None:
        def ask() -> tuple[int, int]:
            return self._broker.init_producer_id(self._name, self._timeout, self._who)

        self.identity = self._request("init", ask, seconds)

    def begin_transaction(self) -> None:
        self._check()
        self._state(open_=False)
        self._open = True

    def produce(
        self,
        topic: str,
        values: BytesColumn,
        keys: BytesColumn,
        partition: NDArray[Any] | None = None,
        headers: Sequence[Headers] | None = None,
        timestamps: NDArray[Any] | None = None,
    ) -> None:
        del headers, timestamps
        # Unlike the other requests, it does not say what ended the transaction.
        self._state(open_=self._fatal is None and self._failed is None)
        count = self._broker.partitions(topic)
        for row, message in enumerate(zip(keys, values, strict=True)):
            number = zlib.crc32(message[0] or b"") % count
            if partition is not None:
                number = int(partition[row])
            self._queue.append(((topic, number), [message]))
        if self._network.eager:
            self._flush()

    def _flush(self) -> None:
        """Send what is queued; the next call reports errors."""
        while self._queue and self._failed is None and self._fatal is None:
            place, messages = self._queue[0]
            try:
                self._put(place)
                self._send(place, messages)
            except KafkaException as late:
                self._fail(late.args[0].code())
                return
            except Refused as refused:
                if refused.code in _FENCED:
                    self._end_with(refused.code)
                elif self._fatal is None:
                    self._fail(refused.code)
                return
            self._sequences[place] = self._sequences.get(place, 0) + len(messages)
            self._queue.pop(0)

    def _put(self, place: Place) -> None:
        if place in self._places:
            return
        self._used = True
        self._request(
            "partitions",
            lambda: self._broker.add_partitions(self._name, *self.identity, [place]),
            self._timeout,
        )
        self._places.add(place)

    def _send(self, place: Place, messages: list[Message]) -> None:
        sequence = self._sequences.get(place, 0)
        self._request(
            "produce",
            lambda: self._broker.produce(self._name, *self.identity, place, sequence, messages),
            self._timeout,
        )

    def send_offsets_to_transaction(
        self,
        topic: str,
        offsets: Mapping[int, int],
        group: Any,
        seconds: float,
        notes: Mapping[int, bytes] | None = None,
    ) -> None:
        self._check()
        self._state(open_=True)
        if not offsets:
            return
        placed = {
            (topic, partition): (offset, (notes or {}).get(partition, b""))
            for partition, offset in offsets.items()
        }
        self._used = True
        try:
            self._request(
                "offsets",
                lambda: self._broker.add_offsets(self._name, *self.identity, group.group),
                seconds,
            )
            self._request(
                "offset_commit",
                lambda: self._broker.offset_commit(
                    self._name, *self.identity, group.group, (group.member, group.generation),
                    placed,
                ),
                seconds,
            )  # fmt: skip
        except Refused as refused:
            abort = (
                KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID,
                KafkaError.FENCED_INSTANCE_ID,
            )  # fmt: skip
            told = self._fail if refused.code in abort else self._end_with
            raise told(refused.code) from refused

    def commit_transaction(self, seconds: float) -> None:
        self._check()
        self._state(open_=True)
        self._flush()
        self._check()
        self._end(committed=True, seconds=seconds)

    def abort_transaction(self, seconds: float) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        self._state(open_=True)
        for place, messages in self._queue:
            # Their sequence numbers are used up: the next records leave a gap after them.
            self._sequences[place] = self._sequences.get(place, 0) + len(messages)
        self._queue.clear()
        self._end(committed=False, seconds=seconds)

    def _end(self, *, committed: bool, seconds: float) -> None:
        if self._used:
            identity = self.identity
            try:
                self._request(
                    "end",
                    lambda: self._broker.end_txn(self._name, *identity, committed=committed),
                    seconds,
                )
            except Refused as refused:
                raise self._end_with(refused.code) from refused
        self._open, self._used, self._failed = False, False, None
        self._places.clear()

    def poll(self, _: float) -> None:
        errors, self._network.errors = self._network.errors, []
        for error in errors:
            self._told(error)
        if not self._fatal_told and self._fatal is not None:
            self._fatal_told = True
            raise KafkaException(self._fatal)

    def flush(self, seconds: float) -> bool:
        # Records are delivered when the transaction is committed; the queue has no limit.
        del seconds
        return True

    def purge(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        self._queue.clear()
