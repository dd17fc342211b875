"""Under a label policy, profiler and scorer wait for each other, and both come to the end."""

import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.bundles.bundle import DecisionThresholds, Period, Quality, Training
from stream_scorer.models.bundles.writer import Candidate, write_bundle
from stream_scorer.models.importing.scikit_learn.source import source_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.scoring.process import scorer_loop
from stream_scorer.settings import Kafka, Models, Profiler, Scorer, Settings
from stream_scorer.telemetry import BatchCommitted, Event
from stream_scorer.terminals.profiler_process import profiler_loop
from tests.integration.terminals.test_scorer import FEATURES, WINDOW
from tests.support.faults.reference_run import decision
from tests.support.terminals.stage import HOUR, PARTITIONS, PLAN, START, Sent, send

pytestmark = pytest.mark.kafka

SECONDS = 120.0
COUNT = 50
"""Transactions of each customer, 12 hours apart."""
A, B = next(
    (a, b) for a in range(9) for b in range(9)
    if partition_of(b"c%d" % a, PARTITIONS) != partition_of(b"c%d" % b, PARTITIONS)
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model of engine 2 that blocks everything, and a plan with a label policy."""
    numbers = np.random.default_rng(0)
    rows = numbers.normal(size=(400, len(FEATURES)))
    model = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows[:, 0] > 1)
    period = Period(first_day=date(2018, 4, 1), last_day=date(2018, 4, 2), rows=400, frauds=60)
    quality = Quality(
        period=period, auc=0.5, average_precision=0.1, review_or_block_rate=1.0, block_rate=1.0
    )
    training = Training(train=period, validation=quality, test=quality, source="a test")
    made = Candidate(
        "fraud", "1.0.0", source_of(model), FEATURES,
        DecisionThresholds(review=1e-7, block=1e-6), training, engine=2,
    )  # fmt: skip
    write_bundle(tmp_path, made, rows)
    (tmp_path / "plan.toml").write_text(
        '[currencies]\nEUR = 2\n[label_policy]\nunlabelled = "genuine"\n'
    )
    return tmp_path


def apart() -> list[Sent]:
    """Return two customers' transactions: all of one, then all of the other, same event times."""

    def of(customer: int, at: int) -> list[Sent]:
        number = 2 * at + (customer == B)
        paid = Sent(number, START + at * 12 * HOUR, customer=customer)
        if number % 3 == 2:
            return [paid]
        return [paid, Sent(number, paid.event_time, number % 3 == 0, None, customer)]

    first = [*of(A, 0), *of(B, 0)]
    others = [each for customer in (A, B) for at in range(1, COUNT) for each in of(customer, at)]
    return [*first, *others]


def run_both(kafka: Kafka, store: Path, records: int, transactions: int) -> None:
    """Run a profiler and a scorer until both have committed everything."""
    told: list[Event] = []
    heard: list[Event] = []
    deployment = Deployment("fraud", store / "plan.toml", "earliest", accept_cold=True)
    settings = Settings(
        kafka=kafka, models=Models(directory=store), scorer=Scorer(maximum_batch=40),
        profiler=Profiler(group=f"{kafka.group}-profiler"),
    )  # fmt: skip
    profiler = profiler_loop(
        settings.of_process("profiler"), deployment, told.append, scorers=kafka.group
    )
    scorer, _ = scorer_loop(settings, deployment, heard.append)
    deadline = time.monotonic() + SECONDS

    def done(events: list[Event]) -> int:
        return sum(each.records for each in list(events) if isinstance(each, BatchCommitted))

    def beat() -> None:
        assert time.monotonic() < deadline, f"{done(told)} and {done(heard)}: {heard[-2:]}"
        if done(told) >= records and done(heard) >= transactions:
            profiler.stop()
            scorer.stop()

    thread = threading.Thread(target=profiler.run)
    thread.start()
    try:
        scorer.run(beat)
    finally:
        profiler.stop()
        thread.join(30)


def test_a_scorer_and_the_profiler_wait_for_each_other(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], store: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = apart()
    send(kafka, records)
    run_both(kafka, store, len(records), 2 * COUNT)

    reader = RecordReader(Settings(kafka=kafka).registry)
    states: dict[tuple[str, int], str] = {}
    for message in read_all(kafka, kafka.topics.terminal_profiles):
        row = reader.decode(message.value())
        if row["terminal_id"] is not None:
            at = round(row["event_time"].timestamp() * 1_000)
            states[row["terminal_id"], at] = row["state"]
            assert row["fraud"] == (row["state"] == "FRAUD")
    numbers = {(each.terminal, each.event_time): each.number for each in records}
    expected = {0: "FRAUD", 1: "GENUINE", 2: "UNKNOWN"}
    assert states == {place: expected[numbers[place] % 3] for place in states}
    assert set(states.values()) == set(expected.values())

    decided = 0
    for message in read_all(kafka, kafka.topics.decisions):
        found = decision(message.value())
        decided += 1
        assert "degraded" not in found["flags"], found["transaction_id"]
        assert (found["decision"], found["engine"]) == ("BLOCK", 2)
        at = round(found["event_time"].timestamp() * 1_000)
        upper = at - PLAN.terminal_delay_ms
        mine = [state for (terminal, when), state in states.items()
                if terminal == found["terminal_id"] and upper - WINDOW < when <= upper]  # fmt: skip
        _, count, risk = found["features"]
        known = len(mine) - mine.count("UNKNOWN")
        assert count == len(mine)
        assert risk == (mine.count("FRAUD") / known if known else 0.0)
    assert decided == 2 * COUNT
