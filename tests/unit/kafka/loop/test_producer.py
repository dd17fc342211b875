"""The rebirth rule, sign by sign: a client whose requests may still arrive is replaced first."""

from inspect import signature
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.clocks import since_boot
from stream_scorer.errors import FencedError, TransactionError, UnavailableError
from stream_scorer.kafka.loop import producer as loop_producer
from stream_scorer.kafka.loop.producer import CommitUncertain, TransactionalProducer
from stream_scorer.ports import BytesColumn, Outgoing, TransactionAborted
from stream_scorer.telemetry import (
    DependencyBack,
    DependencyUnavailable,
    ProducerReborn,
)
from tests.support.kafka.fake_cluster import (
    ABORT,
    FATAL,
    FENCED,
    RETRIABLE,
    TOO_LARGE,
    UNCLASSIFIED,
    WRONG_STATE,
    Cluster,
    FakeClient,
    failure,
)

GROUP: Any = object()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def transact(producer: TransactionalProducer) -> None:
    producer.begin()
    go_on(producer)


def go_on(producer: TransactionalProducer) -> None:
    producer.send(Outgoing("t", BytesColumn.of([b"v"]), BytesColumn.of([b"k"])))
    producer.offsets("t", {}, GROUP)
    producer.commit()


def test_after_success_the_client_is_kept(cluster: Cluster) -> None:
    producer = cluster.producer()
    for _ in range(3):
        transact(producer)
    assert producer.births == 1
    assert cluster.heard == []
    assert cluster.clients[0].options["transactional.id"] == "group:i"


def many(count: int, size: int) -> Outgoing:
    """Return numbered records of ``size`` bytes with partitions and timestamps."""
    numbers = np.arange(count)
    values = BytesColumn.of(b"%0*d" % (size, number) for number in range(count))
    return Outgoing("t", values, BytesColumn.nulls(count), None, numbers.astype(np.int32), numbers)


@pytest.mark.parametrize(("limit", "count"), [("_RECORDS_AT_ONCE", 4), ("_BYTES_AT_ONCE", 40)])
def test_any_number_of_records_passes_the_clients_queue(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, limit: str, count: int
) -> None:
    monkeypatch.setattr(loop_producer, limit, count)
    queued = {"_RECORDS_AT_ONCE": "_QUEUED_RECORDS_MOST", "_BYTES_AT_ONCE": "_QUEUED_BYTES_MOST"}
    monkeypatch.setattr(loop_producer, queued[limit], 2 * count)
    producer = cluster.producer()
    producer.begin()
    sent = many(23, 10)
    producer.send(sent)
    producer.commit()
    assert [value for _, value in cluster.clients[0].produced] == list(sent.values)
    made = [name for _, name in cluster.calls if name in {"produce", "flush", "commit"}]
    assert made == ["produce", "produce", "flush"] * 2 + ["produce", "produce", "commit"]


def test_a_queue_that_stays_full_ends_the_transaction(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_producer, "_RECORDS_AT_ONCE", 2)
    monkeypatch.setattr(loop_producer, "_QUEUED_RECORDS_MOST", 4)
    cluster.stuck = True
    producer = cluster.producer()
    producer.begin()
    with pytest.raises(TransactionAborted, match="not delivered in time") as caught:
        producer.send(many(5, 1))
    assert caught.value.network
    cluster.stuck = False
    transact(producer)
    assert cluster.reborn == ["abort"]


def test_transaction_ages_include_suspended_time() -> None:
    assert signature(TransactionalProducer).parameters["clock"].default is since_boot


def test_a_transport_error_replaces_the_client(cluster: Cluster) -> None:
    producer = cluster.producer()
    producer.begin()
    cluster.clients[0].options["error_cb"](KafkaError(KafkaError._TRANSPORT))
    producer.commit()
    transact(producer)
    assert cluster.reborn == ["transport error"]
    transact(producer)
    assert producer.births == 2


def test_another_error_does_not_replace_the_client(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.clients[0].options["error_cb"](KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    transact(producer)
    assert producer.births == 1


def test_a_commit_that_took_as_long_as_a_request_may_replaces_it(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.slow.add("commit")
    transact(producer)
    cluster.slow.clear()
    transact(producer)
    assert cluster.reborn == ["slow commit"]


@pytest.mark.parametrize("error", [RETRIABLE, FATAL])
def test_a_commit_without_an_answer_is_reported_as_uncertain(
    cluster: Cluster, error: KafkaException
) -> None:
    producer = cluster.producer()
    cluster.raises["commit"] = [error]
    with pytest.raises(CommitUncertain):
        transact(producer)
    transact(producer)
    assert cluster.reborn == ["commit: injected"]


@pytest.mark.parametrize("step", ["begin", "produce", "offsets", "commit"])
def test_an_error_that_requires_an_abort_replaces_the_client(cluster: Cluster, step: str) -> None:
    producer = cluster.producer()
    cluster.raises[step] = [ABORT]
    with pytest.raises(TransactionAborted) as caught:
        transact(producer)
    assert not caught.value.network
    assert cluster.calls[-1] == (0, "abort")
    transact(producer)
    assert cluster.reborn == ["abort"]


def test_a_retriable_error_before_the_commit_is_the_networks(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises["offsets"] = [RETRIABLE]
    with pytest.raises(TransactionAborted) as caught:
        transact(producer)
    assert caught.value.network


def test_an_abort_that_fails_too_is_left_to_the_rebirth(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises = {"offsets": [RETRIABLE], "abort": [RETRIABLE]}
    with pytest.raises(TransactionAborted):
        transact(producer)
    transact(producer)
    assert cluster.reborn == ["abort: injected"]


def test_an_unfinished_transaction_is_settled_when_asked(cluster: Cluster) -> None:
    producer = cluster.producer()
    producer.settle()
    cluster.raises = {"offsets": [RETRIABLE]}
    with pytest.raises(TransactionAborted):
        transact(producer)
    producer.settle()
    assert cluster.reborn == []
    transact(producer)
    cluster.raises = {"offsets": [RETRIABLE], "abort": [RETRIABLE]}
    with pytest.raises(TransactionAborted):
        transact(producer)
    producer.settle()
    producer.settle()
    assert cluster.reborn == ["abort", "abort: injected"]


@pytest.mark.parametrize("step", ["begin", "produce", "offsets"])
def test_a_fatal_error_replaces_the_client_without_an_abort(cluster: Cluster, step: str) -> None:
    producer = cluster.producer()
    cluster.raises[step] = [FATAL]
    with pytest.raises(TransactionAborted):
        transact(producer)
    assert (0, "abort") not in cluster.calls
    transact(producer)
    assert cluster.reborn == ["fatal: injected"]


def test_a_fatal_error_of_polling_replaces_the_client(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises["poll"] = [FATAL]
    transact(producer)
    assert cluster.reborn == ["fatal: injected"]


@pytest.mark.parametrize("step", ["poll", "begin", "produce", "offsets", "commit"])
def test_a_fenced_producer_leaves_immediately(cluster: Cluster, step: str) -> None:
    producer = cluster.producer()
    cluster.raises[step] = [FENCED]
    with pytest.raises(FencedError, match="group:i was taken over"):
        transact(producer)
    assert producer.births == 1
    assert (0, "abort") not in cluster.calls


def test_a_producer_fenced_while_aborting_or_starting_leaves_too(cluster: Cluster) -> None:
    producer = cluster.producer()
    producer.begin()
    cluster.raises["abort"] = [FENCED]
    with pytest.raises(FencedError):
        producer.abort()
    cluster.raises["init"] = [FENCED]
    with pytest.raises(FencedError):
        producer.rebirth("test")


def test_an_unretriable_error_stops_with_its_name(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises["produce"] = [UNCLASSIFIED]
    with pytest.raises(TransactionError, match="TOPIC_AUTHORIZATION_FAILED"):
        transact(producer)


def test_a_record_that_is_too_large_is_an_abort_that_counts(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises["produce"] = [TOO_LARGE]
    with pytest.raises(TransactionAborted) as caught:
        transact(producer)
    assert not caught.value.network


def test_refused_offsets_name_the_error_of_the_refused_record(
    cluster: Cluster,
) -> None:
    producer = cluster.producer()
    cluster.raises["offsets"] = [WRONG_STATE, failure(KafkaError.MSG_SIZE_TOO_LARGE, "large")]
    with pytest.raises(TransactionAborted, match="large"):
        transact(producer)
    assert cluster.calls[-3:] == [(0, "offsets"), (0, "offsets"), (0, "abort")]


@pytest.mark.parametrize(
    ("told", "raised", "calls"),
    [
        (failure(KafkaError.MSG_SIZE_TOO_LARGE, "large", abort=True), TransactionAborted,
         ["produce", "begin", "abort"]),
        (failure(KafkaError._FENCED, "fenced", fatal=True), FencedError, ["produce", "begin"]),
    ],
)  # fmt: skip
def test_a_record_gets_the_error_that_ended_its_transaction(
    cluster: Cluster, told: KafkaException, raised: type[Exception], calls: list[str]
) -> None:
    producer = cluster.producer()
    producer.begin()
    cluster.raises["produce"] = [failure(KafkaError._STATE)]
    cluster.raises["begin"] = [told]
    with pytest.raises(raised, match=told.args[0].str()):
        go_on(producer)
    assert cluster.calls[-len(calls) :] == [(0, call) for call in calls]


def test_offsets_accepted_only_the_second_time_are_aborted_too(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises["offsets"] = [WRONG_STATE]
    with pytest.raises(TransactionAborted, match="injected"):
        transact(producer)
    assert cluster.calls[-1] == (0, "abort")


def test_the_first_start_gives_up_on_unreachable_brokers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poll(client: FakeClient, _: float) -> int:
        client.options["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN))
        return 0

    cluster.raises["init"] = [RETRIABLE] * 3
    monkeypatch.setattr(FakeClient, "poll", poll)
    with pytest.raises(UnavailableError, match="cannot start on b:1: injected"):
        cluster.producer()
    assert len(cluster.raises["init"]) == 2


def test_the_first_start_waits_for_brokers_that_are_not_ready(cluster: Cluster) -> None:
    cluster.raises["init"] = [RETRIABLE] * 3
    transact(cluster.producer())
    assert cluster.heard == [DependencyUnavailable("kafka", "injected"), DependencyBack("kafka")]


def test_a_rebirth_waits_out_an_outage_until_it_is_stopped(cluster: Cluster) -> None:
    producer = cluster.producer()
    cluster.raises["init"] = [RETRIABLE] * 3
    producer.rebirth("test")
    assert cluster.heard == [
        DependencyUnavailable("kafka", "injected"),
        DependencyBack("kafka"),
        ProducerReborn("test"),
    ]
    cluster.raises["init"] = [RETRIABLE] * 3
    with pytest.raises(UnavailableError):
        producer.rebirth("test", lambda: True)


def test_headers_are_sent_with_their_records(cluster: Cluster) -> None:
    producer = cluster.producer()
    producer.begin()
    producer.send(
        Outgoing("t", BytesColumn.of([b"a", b"b"]), BytesColumn.nulls(2), [[("h", b"1")], None])
    )
    producer.send(Outgoing("u", BytesColumn.of([b"c"]), BytesColumn.nulls(1)))
    assert cluster.clients[0].produced == [("t", b"a"), ("t", b"b"), ("u", b"c")]


def outlive(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> TransactionalProducer:
    """Return a producer whose open transaction is older than the broker's time limit."""
    producer = cluster.producer()
    producer.begin()
    monkeypatch.setattr(producer, "_began", producer._began - producer._timeout)
    return producer


@pytest.mark.parametrize("step", ["produce", "offsets"])
def test_a_producer_fenced_by_its_own_timeout_continues(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    producer = outlive(cluster, monkeypatch)
    cluster.raises = {step: [FENCED], "poll": [FENCED]}
    with pytest.raises(TransactionAborted) as caught:
        go_on(producer)
    assert caught.value.network
    transact(producer)
    assert cluster.reborn == ["transaction outlived its time limit"]
    # The next transaction is young, so only another process can have fenced it.
    cluster.raises = {"produce": [FENCED]}
    with pytest.raises(FencedError):
        transact(producer)


def test_a_commit_fenced_by_the_time_limit_is_uncertain(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = outlive(cluster, monkeypatch)
    cluster.raises["commit"] = [FENCED]
    with pytest.raises(CommitUncertain):
        producer.commit()
    transact(producer)
    assert cluster.reborn == ["transaction outlived its time limit"]


def test_an_abort_fenced_by_the_time_limit_is_over(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = outlive(cluster, monkeypatch)
    cluster.raises["abort"] = [FENCED]
    producer.abort_open()
    transact(producer)
    assert producer.births == 2
