"""Faults of upstream's transactions and partitioning, and of the topics."""

import time

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from stream_scorer.kafka.topics.create_topics import create_topics
from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.faults.suite.traffic import producer_options, traffic
from tests.faults.verifier.replay import History
from tests.faults.verifier.segments import Fate, read_partition
from tests.support.faults.process import wait_until

_OFFSETS, _TRANSACTION, _STATE = 7, 8, 9
_MANY = 400
_HANGING_MS = 12_000
_REQUEST_SECONDS = 30.0


def _transactional(stage: Stage, timeout_ms: int) -> Producer:
    options = producer_options(stage.inside.bootstrap)
    # The delivery timeout must not exceed the transaction's.
    options |= {
        "transactional.id": f"{stage.source}-upstream",
        "transaction.timeout.ms": timeout_ms,
    }
    options["delivery.timeout.ms"] = timeout_ms
    producer = Producer(options)
    producer.init_transactions(_REQUEST_SECONDS)
    return producer


def _sent_in_a_transaction(stage: Stage, producer: Producer) -> set[tuple[int, int]]:
    """Produce records in an open transaction; return their partitions and offsets."""
    producer.begin_transaction()
    records = [record for record in traffic()[-3 * _MANY :] if not record.bad][:_MANY]
    known = {record.source for record in stage.ledger.sent()}
    numbers = {record.value for record in records}
    for record in records:
        stage.ledger.produce(producer, stage.source, record)
    assert not producer.flush(_REQUEST_SECONDS)
    return {
        record.source
        for record in stage.ledger.sent()
        if record.source not in known and record.value in numbers
    }


def _aborted(stage: Stage) -> int:
    """Return the number of input records that are aborted by the broker's log."""
    return sum(
        fate is Fate.ABORTED
        for p in range(stage.partitions)
        for fate in read_partition(stage.ground.replicas, stage.source, p).fates().values()
    )


@kind("data", quick=True)
def aborted_upstream_transaction(stage: Stage) -> None:
    """Upstream aborts a transaction: no reader is given its records, and nothing is decided."""
    stage.start()
    producer = _transactional(stage, 60_000)
    gone = _sent_in_a_transaction(stage, producer)
    producer.abort_transaction(_REQUEST_SECONDS)
    wait_until(lambda: _aborted(stage) > 0, "the markers are written")
    stage.fired(_aborted(stage), "input records in an aborted transaction, by the broker's log")
    stage.fault_over()
    stage.finish(aborted=gone)


@kind("data")
def hanging_upstream_transaction(stage: Stage) -> None:
    """Upstream leaves a transaction open until its time limit: decisions wait; reported."""
    scorer = stage.start()
    producer = _transactional(stage, _HANGING_MS)
    gone = _sent_in_a_transaction(stage, producer)

    def hidden() -> float:
        lag, stable = (
            scorer.metric(f"stream_scorer_{name}_records", partition="0") or 0
            for name in ("lag", "lag_stable")
        )
        return lag - stable

    wait_until(lambda: hidden() > 0, lambda: f"lag is more than stable lag: {stage.said}")
    wait_until(lambda: _aborted(stage) > 0, "the broker aborts it")
    stage.fired(_aborted(stage), "input records that hung, with lag above stable lag by metric")
    stage.fault_over()
    stage.finish(aborted=gone)


@kind("data")
def another_partitioner(stage: Stage) -> None:
    """Upstream partitions by another hash: records are decided, and health is degraded."""
    stage.feed = stage.feed_of(traffic(), partitioner="consistent")
    scorer = stage.start()
    wait_until(
        lambda: bool(scorer.degraded()), lambda: f"it says that it is degraded: {stage.said}"
    )
    count = scorer.metric("stream_scorer_keys_misplaced_total") or 0
    stage.fired(int(count), "sampled keys in another partition than theirs, by metric")
    stage.fault_over()
    stage.finish()


def _admin(stage: Stage) -> AdminClient:
    return AdminClient({"bootstrap.servers": stage.inside.bootstrap, "log_level": 0})


@kind("data")
def offset_out_of_range(stage: Stage) -> None:
    """Retention took undecided input: exit code 7; after the offset is moved, it continues."""
    first = stage.start()
    stage.stop(first)
    time.sleep(2)
    stage.feed.stop()
    at = stage.ends()
    low = {p: end - 20 for p, end in at.items()}
    places = [TopicPartition(stage.source, p, offset) for p, offset in low.items()]
    client = _admin(stage)
    for future in client.delete_records(places).values():
        future.result()
    taken = {
        record.source
        for record in stage.ledger.sent()
        if stage.committed[record.partition] <= record.offset < low[record.partition]
    }
    seen = len(stage.live.seen)
    refused = stage.scorer(wait=False)
    assert refused.wait() == _OFFSETS, refused.said
    assert "outside the retained input" in refused.said
    assert len(stage.live.seen) == seen
    stage.fired(len(taken), "records that retention took, and a start refused with exit code 7")
    # By the runbook, the operator moves the group's offsets forward and rebuilds the state.
    request = ConsumerGroupTopicPartitions(stage.kafka.group, places)
    for done in client.alter_consumer_group_offsets([request]).values():
        done.result()
    rebuilt = stage.command("state", "rebuild", "--model", "fraud:1.0.0")
    assert rebuilt.returncode == 0, rebuilt.stderr
    stage.fault_over()
    stage.scorer()
    stage.feed_on()
    stage.finish(history=History(begins=low), deleted=taken)


@kind("data")
def output_topic_deleted(stage: Stage) -> None:
    """An output topic is deleted: the scorer stops, and continues when the topic is back."""
    scorer = stage.start()
    topic = stage.kafka.topics.summaries
    client = _admin(stage)
    for future in client.delete_topics([topic]).values():
        future.result()
    assert scorer.wait() == _TRANSACTION, scorer.said
    *_, last = scorer.said.strip().splitlines()
    assert last.startswith("stream-scorer: 5 transactions in a row were aborted"), scorer.said
    assert f"topic {topic}: " in last, scorer.said
    stage.fired(1, f"topic deleted, and the scorer left with exit code {_TRANSACTION}")
    create_topics(stage.inside, stage.partitions)
    stage.fault_over()
    stage.scorer()
    stage.finish(without=[topic])


@kind("data")
def partitions_added(stage: Stage) -> None:
    """The input gets more partitions: the scorer stops until `state repartition`."""
    # By default, clients look for new partitions every five minutes.
    eager = {"STREAM_SCORER_KAFKA__CLIENT": '{"topic.metadata.refresh.interval.ms": 1000}'}
    scorer = stage.start(variables=eager)
    stage.feed.stop()
    stage.wait_committed(stage.ends())
    client = _admin(stage)
    for future in client.create_partitions([NewPartitions(stage.source, 6)]).values():
        future.result()
    assert scorer.wait() == _STATE, scorer.said
    assert "state repartition" in scorer.said
    stage.fired(1, "2 partitions added, and the scorer left with exit code 9")
    stage.feed_on()
    moved = stage.command("state", "repartition", "--model", "fraud:1.0.0")
    assert moved.returncode == 0, moved.stderr
    stage.fault_over()
    stage.scorer(arguments=("--from", "earliest"))
    stage.finish(history=History(moved=True))
