"""One contract of transactions for the fake broker and a real one: clients, and single requests.

The model of the loop (tests/unit/kafka/loop/test_loop_model.py) relies on what is tested here.
"""

import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.loop.producer import ProducerClient, cause_of
from stream_scorer.settings import Kafka
from tests.support.contract.brokers import (
    PARTITIONS,
    FakeGround,
    Ground,
    KafkaGround,
    committed,
    send,
)

SECONDS = 30.0
FENCED = {KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


@pytest.fixture(params=["fake", pytest.param("kafka", marks=pytest.mark.kafka)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    if request.param == "fake":
        yield FakeGround()
        return
    make: Callable[..., Kafka] = request.getfixturevalue("kafka_settings")
    create: Callable[..., Kafka] = request.getfixturevalue("kafka_topics")
    made = KafkaGround(create(make(), PARTITIONS))
    yield made
    made.close()


@pytest.fixture
def name() -> str:
    """Return a transactional id that no client has used."""
    return f"id-{uuid.uuid4().hex[:10]}"


def born(ground: Ground, name: str, timeout: float = 60.0) -> ProducerClient:
    made = ground.producer(name, timeout)
    made.init_transactions(SECONDS)
    return made


def begun(ground: Ground, name: str, value: bytes, timeout: float = 60.0) -> ProducerClient:
    """Return a client with one record in an open transaction."""
    made = born(ground, name, timeout)
    made.begin_transaction()
    send(made, ground.topic, value)
    return made


def error_of(call: Callable[[], None]) -> KafkaError:
    with pytest.raises(KafkaException) as caught:
        call()
    return cause_of(caught.value)


class TestClients:
    def test_a_commit_shows_records_and_offsets_together(self, ground: Ground, name: str) -> None:
        member = ground.member(PARTITIONS)
        producer = begun(ground, name, b"v")
        producer.send_offsets_to_transaction(
            ground.topic, {0: 5}, member.group_metadata(), SECONDS, {0: b"note"}
        )
        assert ground.visible() == []
        producer.commit_transaction(SECONDS)
        assert ground.visible(1) == [b"v"]
        assert committed(member) == {0: 5}

    def test_an_abort_hides_records_and_offsets_and_work_continues(
        self, ground: Ground, name: str
    ) -> None:
        member = ground.member(PARTITIONS)
        producer = begun(ground, name, b"aborted")
        producer.send_offsets_to_transaction(ground.topic, {0: 5}, member.group_metadata(), SECONDS)
        producer.abort_transaction(SECONDS)
        assert ground.visible() == []
        assert committed(member) == {}
        producer.begin_transaction()
        send(producer, ground.topic, b"next")
        producer.commit_transaction(SECONDS)
        assert ground.visible(1) == [b"next"]

    def test_one_that_is_empty_is_committed(self, ground: Ground, name: str) -> None:
        producer = born(ground, name)
        producer.begin_transaction()
        producer.commit_transaction(SECONDS)
        producer.begin_transaction()
        producer.abort_transaction(SECONDS)

    def test_nothing_is_committed_that_was_not_begun(self, ground: Ground, name: str) -> None:
        producer = born(ground, name)
        assert error_of(lambda: producer.commit_transaction(SECONDS)).code() == KafkaError._STATE

    @pytest.mark.parametrize("call", ["offsets", "commit", "abort"])
    def test_a_later_producer_fences_an_earlier_one(
        self, ground: Ground, name: str, call: str
    ) -> None:
        member = ground.member(PARTITIONS)
        first = begun(ground, name, b"first")
        first.send_offsets_to_transaction(ground.topic, {0: 5}, member.group_metadata(), SECONDS)
        second = born(ground, name)
        calls: dict[str, Callable[[], None]] = {
            "offsets": lambda: first.send_offsets_to_transaction(
                ground.topic, {0: 6}, member.group_metadata(), SECONDS
            ),
            "commit": lambda: first.commit_transaction(SECONDS),
            "abort": lambda: first.abort_transaction(SECONDS),
        }
        told = error_of(calls[call])
        assert (told.code(), told.fatal()) == (KafkaError._FENCED, True)
        # The error is reported once more when callbacks are served, and the client cannot continue.
        assert error_of(lambda: first.poll(0.1)).code() == KafkaError._FENCED
        first.poll(0.1)
        assert error_of(first.begin_transaction).fatal()
        second.begin_transaction()
        send(second, ground.topic, b"second")
        second.commit_transaction(SECONDS)
        assert ground.visible(1) == [b"second"]
        assert committed(member) == {}

    def test_offsets_of_a_generation_that_is_over_are_refused(
        self, ground: Ground, name: str
    ) -> None:
        first = ground.member(PARTITIONS)
        old = first.group_metadata()
        first.close()
        second = ground.member(PARTITIONS)
        producer = begun(ground, name, b"v")
        told = error_of(
            lambda: producer.send_offsets_to_transaction(ground.topic, {0: 5}, old, SECONDS)
        )
        assert told.code() == KafkaError.UNKNOWN_MEMBER_ID
        assert told.txn_requires_abort()
        # Sending a record does not report what ended the transaction; beginning another one does.
        refused = error_of(lambda: send(producer, ground.topic, b"next"))
        assert refused.code() == KafkaError._STATE
        begun_again = error_of(producer.begin_transaction)
        assert begun_again.code() == KafkaError.UNKNOWN_MEMBER_ID
        assert begun_again.txn_requires_abort()
        again = error_of(lambda: producer.commit_transaction(SECONDS))
        assert again.txn_requires_abort()
        producer.abort_transaction(SECONDS)
        assert ground.visible() == []
        assert committed(second) == {}

    def test_a_transaction_timeout_fences_the_client(self, ground: Ground, name: str) -> None:
        member = ground.member(PARTITIONS)
        producer = begun(ground, name, b"old", timeout=1.0)
        producer.send_offsets_to_transaction(ground.topic, {0: 5}, member.group_metadata(), SECONDS)
        ground.outlive(1.0)
        told = error_of(lambda: producer.commit_transaction(SECONDS))
        assert (told.code(), told.fatal()) == (KafkaError._FENCED, True)
        assert b"old" not in ground.visible()
        assert committed(member) == {}
        # A new client with the same name continues.
        last = begun(ground, name, b"new")
        last.commit_transaction(SECONDS)
        assert b"new" in ground.visible(2)


class TestRequests:
    def test_an_end_can_be_repeated_but_not_reversed(self, ground: Ground, name: str) -> None:
        for committed_ in (True, False):
            identity = (name, *ground.requests.init(name))
            assert ground.requests.add_partitions(*identity) == 0
            assert ground.requests.add_partitions(*identity) == 0
            assert ground.requests.end(*identity, committed=committed_) == 0
            assert ground.requests.end(*identity, committed=committed_) == 0
            refused = ground.requests.end(*identity, committed=not committed_)
            assert refused == KafkaError.INVALID_TXN_STATE

    def test_nothing_is_ended_that_was_not_begun(self, ground: Ground, name: str) -> None:
        identity = (name, *ground.requests.init(name))
        for committed_ in (True, False):
            refused = ground.requests.end(*identity, committed=committed_)
            assert refused == KafkaError.INVALID_TXN_STATE

    def test_an_end_that_comes_late_ends_what_is_open_then(self, ground: Ground, name: str) -> None:
        identity = (name, *ground.requests.init(name))
        ground.requests.add_partitions(*identity)
        ground.requests.end(*identity, committed=True)
        # The next transaction, and then the end request of the previous one again.
        assert ground.requests.add_partitions(*identity) == 0
        assert ground.requests.end(*identity, committed=True) == 0
        refused = ground.requests.end(*identity, committed=False)
        assert refused == KafkaError.INVALID_TXN_STATE

    @pytest.mark.parametrize("open_", [False, True])
    def test_a_birth_raises_the_epoch_and_ends_what_was_open(
        self, ground: Ground, name: str, open_: bool  # noqa: FBT001 a parameter of the test
    ) -> None:  # fmt: skip
        producer, epoch = ground.requests.init(name)
        if open_:
            ground.requests.add_partitions(name, producer, epoch)
        again = ground.requests.init(name)
        assert again[0] == producer
        assert again[1] > epoch
        old = (name, producer, epoch)
        assert ground.requests.add_partitions(*old) in FENCED
        assert ground.requests.add_offsets(*old) in FENCED
        assert ground.requests.end(*old, committed=True) in FENCED
        assert ground.requests.end(name, *again, committed=True) == KafkaError.INVALID_TXN_STATE

    def test_an_unknown_producer_is_refused(self, ground: Ground, name: str) -> None:
        producer, epoch = ground.requests.init(name)
        for stranger in ((f"{name}-x", producer, epoch), (name, producer + 1, epoch)):
            for told in (
                ground.requests.add_partitions(*stranger),
                ground.requests.add_offsets(*stranger),
                ground.requests.end(*stranger, committed=True),
            ):
                assert told == KafkaError.INVALID_PRODUCER_ID_MAPPING

    def test_offsets_of_a_group_that_was_not_put_in_are_refused(
        self, ground: Ground, name: str
    ) -> None:
        identity = (name, *ground.requests.init(name))
        assert ground.requests.offset_commit(*identity, 5) == KafkaError.INVALID_TXN_STATE
        ground.requests.add_offsets(*identity)
        assert ground.requests.offset_commit(*identity, 5) == 0
        assert ground.requests.end(*identity, committed=True) == 0
        member = ground.member(PARTITIONS)
        # The member reads stable offsets, so the group's coordinator has seen the end by then.
        assert committed(member) == {0: 5}
        assert ground.requests.offset_commit(*identity, 4) == KafkaError.INVALID_TXN_STATE
        assert committed(member) == {0: 5}

    def test_offsets_with_an_unknown_member_id_are_refused(self, ground: Ground, name: str) -> None:
        member = ground.member(PARTITIONS)
        identity = (name, *ground.requests.init(name))
        ground.requests.add_offsets(*identity)
        refused = ground.requests.offset_commit(*identity, 5, ("stranger", 1))
        assert refused == KafkaError.UNKNOWN_MEMBER_ID
        refused = ground.requests.offset_commit(*identity, 5, ("", 1))
        assert refused == KafkaError.UNKNOWN_MEMBER_ID
        # The broker accepts a request without member and generation. So the fence works only if all
        # requests name them.
        assert ground.requests.offset_commit(*identity, 5) == 0
        assert ground.requests.end(*identity, committed=True) == 0
        assert committed(member) == {0: 5}


@pytest.mark.thorough
@pytest.mark.kafka
def test_offsets_of_a_member_that_polled_too_late_are_refused(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], name: str
) -> None:
    settings = kafka_settings(session_timeout_ms=6_000, max_poll_interval_ms=6_000)
    ground = KafkaGround(kafka_topics(settings, PARTITIONS))
    told: list[KafkaError] = []

    def commit(_: tuple[int, ...] = ()) -> None:
        producer.begin_transaction()
        send(producer, ground.topic, b"v")
        told.append(
            error_of(
                lambda: producer.send_offsets_to_transaction(
                    ground.topic, {0: 5}, late.group_metadata(), SECONDS
                )
            )
        )
        producer.abort_transaction(SECONDS)

    late = ground.member(PARTITIONS, commit)
    # The group gives the partitions to another member, because this one has not polled in time.
    other = ground.member(PARTITIONS)
    producer = born(ground, name)
    commit()
    # It is informed as of any rebalance, and cannot commit until then either.
    while len(told) == 1:
        late.poll(1, 0.1, 0.0)
    assert [each.txn_requires_abort() for each in told] == [True] * len(told)
    assert committed(other) == {}
    ground.close()
