"""``dlq replay`` interrupted anywhere: no dead letter is copied twice, and none is lost."""

import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from stream_scorer.dead_letters.progress import Selection
from stream_scorer.dead_letters.replay import replay
from stream_scorer.errors import FencedError
from stream_scorer.kafka.reading.read_to_end import read
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import LATEST, admin, bounds, offsets
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import Kafka, Replay, Scorer, Settings
from tests.faults.verifier.reader import read_to_end
from tests.support.dead_letters.produced import letters_of
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Api, Behind

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

PARTITIONS = 4
COUNT = 900
BATCH = 5
KILLS = 3


@pytest.fixture
def ours(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Kafka:
    """Return settings of a topic with dead letters of three reasons."""
    kafka = kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap, socket_timeout_ms=3_000, transaction_timeout_ms=120_000
        )
    )
    reasons = ["MALFORMED", "CURRENCY", "DUPLICATE"] * (COUNT // 3)
    raw = RawRecords(
        BytesColumn.of(b"%d" % n for n in range(COUNT)), BytesColumn.of([b"k"] * COUNT), None,
        (np.arange(COUNT) % PARTITIONS).astype(np.int32), np.arange(COUNT) // PARTITIONS,
        np.full(COUNT, 1_000),
    )  # fmt: skip
    producer = Producer(client_options.common(kafka))
    # The originals: each partition has every fourth record, in order.
    for n in range(COUNT):
        producer.produce(kafka.topics.transactions, b"%d" % n, b"k", n % PARTITIONS)
    for number, record in enumerate(
        letters_of(
            raw, range(COUNT), reasons, ["because"] * COUNT, topic=kafka.topics.dead_letters,
            source_topic=kafka.topics.transactions, instance="a",
        )
    ):  # fmt: skip
        at = number // 7 % PARTITIONS
        producer.produce(record.topic, record.value, record.key, at, headers=record.headers)
    assert producer.flush(30) == 0
    return kafka


def settings_of(kafka: Kafka, batch: int = BATCH) -> Settings:
    return Settings(
        kafka=kafka, scorer=Scorer(maximum_batch=batch), replay=Replay(group=f"r-{kafka.group}")
    )


def calls(kafka: Kafka, *reasons: str) -> int:
    """Run the command in this process; return the number of copies."""
    return replay(settings_of(kafka, 100), Selection(frozenset(reasons))).copied.total()


def command(kafka: Kafka, output: Path) -> ScorerProcess:
    variables = {
        "STREAM_SCORER_REPLAY__GROUP": f"r-{kafka.group}",
        "STREAM_SCORER_SCORER__MAXIMUM_BATCH": str(BATCH),
    }
    return ScorerProcess(kafka, output, "replay", variables=variables, command="dlq")


def copied(kafka: Kafka, *, stable: bool = False) -> Counter[bytes]:
    """Return how often each dead letter is in the input, read committed.

    Args:
        kafka: The cluster.
        stable: Whether to read to the last stable offset, without waiting for transactions.
    """
    topic = kafka.topics.transactions
    return Counter(
        dict(message.headers())["replayed-from"]
        for message in read(kafka, topic, *bounds(kafka, topic, stable=stable))
        if message.headers()
    )


def offsets_of(kafka: Kafka, *, stable: bool) -> int:
    """Return the sum of the end offsets of the input's partitions."""
    wanted = [(kafka.topics.transactions, p) for p in range(PARTITIONS)]
    return sum(offsets(admin(kafka), kafka, wanted, LATEST, stable=stable).values())


def all_once(kafka: Kafka) -> None:
    """Assert that every dead letter but the duplicates was copied once, and then these too."""
    assert calls(kafka) == 0
    found = copied(kafka)
    assert (len(found), set(found.values())) == (COUNT * 2 // 3, {1})
    assert calls(kafka, "DUPLICATE") == COUNT // 3
    found = copied(kafka)
    assert (len(found), set(found.values())) == (COUNT, {1})
    assert calls(kafka) == calls(kafka, "DUPLICATE") == 0


def test_a_replay_killed_in_open_transactions_continues(
    behind: Behind, ours: Kafka, tmp_path: Path
) -> None:
    for number in range(KILLS):
        with command(ours, tmp_path / f"{number}.log") as process:
            behind.kill_in_a_transaction(process, after=4)
        # It was killed in a transaction: a read-committed reader does not get its copies.
        assert offsets_of(ours, stable=True) < offsets_of(ours, stable=False)
        found = copied(ours, stable=True)
        assert set(found.values()) == {1}
        assert len(found) >= 4 * BATCH * (number + 1)
        assert len(found) < COUNT * 2 // 3
    rest = COUNT * 2 // 3 - len(copied(ours, stable=True))
    with command(ours, tmp_path / "last.log") as process:
        assert process.wait() == 0, process.said
    assert rest > 0
    assert len(copied(ours)) == COUNT * 2 // 3
    all_once(ours)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_aborts_the_transaction_and_a_rerun_continues(
    behind: Behind, ours: Kafka, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with command(ours, tmp_path / "log") as process:
        wait_until(
            lambda: offsets_of(ours, stable=True) > COUNT + 4 * BATCH, "transactions are committed"
        )
        # Its transaction has records and offsets, and waits for the retry of the lost answer.
        fault = behind.proxy.fault(Api.OFFSET_COMMIT, "answer", times=1)
        assert fault.hit.wait(30)
        process.send(number)
        assert process.wait() == code, process.said
    # No transaction is open, long before the time limit of 120 s.
    assert offsets_of(ours, stable=True) == offsets_of(ours, stable=False)
    found = copied(ours)
    assert set(found.values()) == {1}
    written = read_to_end(ours.bootstrap, [ours.topics.transactions], "read_uncommitted")
    assert len(written) - COUNT - len(found) == BATCH
    assert f"stopped by {number.name}; the next call continues there" in process.said
    assert f"{len(found)}" in next(row for row in process.said.splitlines() if "total" in row)
    rest = COUNT * 2 // 3 - len(found)
    assert calls(ours) == rest > 0
    all_once(ours)


@pytest.mark.parametrize("direction", ["request", "answer"])
def test_a_lost_end_of_a_transaction_is_settled(
    behind: Behind, ours: Kafka, direction: Any
) -> None:
    fault = behind.proxy.fault(Api.END_TXN, direction, times=1)
    assert calls(ours) == COUNT * 2 // 3
    assert fault.hit.is_set()
    all_once(ours)


@pytest.mark.parametrize("api", [Api.PRODUCE, Api.ADD_OFFSETS, Api.OFFSET_COMMIT])
def test_an_answer_that_is_lost_before_the_end_doubles_nothing(
    behind: Behind, ours: Kafka, api: Api
) -> None:
    fault = behind.proxy.fault(api, "answer", times=1)
    assert calls(ours) == COUNT * 2 // 3
    assert fault.hit.is_set()
    all_once(ours)


def test_a_later_call_takes_over_from_one_that_runs(behind: Behind, ours: Kafka) -> None:
    hold = behind.proxy.fault(Api.END_TXN, "request", "hold")
    left: list[BaseException] = []

    def first() -> None:
        try:
            replay(settings_of(ours), Selection())
        except FencedError as error:
            left.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert hold.hit.wait(30)
    assert calls(ours) == COUNT * 2 // 3
    thread.join(60)
    assert not thread.is_alive()
    (error,) = left
    assert isinstance(error, FencedError)
    assert error.exit_code == 6
    assert error.what.startswith("another `dlq replay` of group ")
    behind.proxy.release(hold)
    all_once(ours)
