"""A scorer with terminal features: all rows, no rows, rows that return, and a restart."""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.observability.health import Health
from stream_scorer.scoring.process import scorer_loop
from stream_scorer.settings import Kafka, Models, Scorer, Settings
from stream_scorer.telemetry import (
    BatchCommitted,
    DependencyBack,
    DependencyUnavailable,
    Event,
    TerminalsRead,
)
from tests.support.faults.reference_run import decision
from tests.support.models.noise_bundles import write
from tests.support.terminals.stage import (
    DAY,
    DEADLINE_SECONDS,
    PLAN,
    SENT,
    Row,
    Sent,
    expected,
    month,
    profiled,
    send,
)

pytestmark = pytest.mark.kafka

AT_TERMINAL = {"key": "terminal_id", "delay": "7d"}
WINDOW = 14 * DAY
FEATURES: tuple[FeatureSpec, ...] = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "COUNT", "kind": "count", "window": "14d", **AT_TERMINAL},
    {"name": "RISK", "kind": "risk", "window": "14d", **AT_TERMINAL},
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write(tmp_path, "1.0.0", FEATURES)
    (tmp_path / "plan.toml").write_text("terminal_wait_ms = 300\n[currencies]\nEUR = 2\n")
    return tmp_path


def scored(
    kafka: Kafka, store: Path, transactions: int, *, start: bool = True
) -> tuple[list[Event], Health]:
    """Run a scorer until it has committed this many transactions."""
    settings = Settings(
        kafka=kafka, models=Models(directory=store), scorer=Scorer(maximum_batch=100)
    )
    told: list[Event] = []
    health = Health()
    health.model_loaded()

    def listener(event: Event) -> None:
        told.append(event)
        health(event)

    deployment = Deployment(
        "fraud", store / "plan.toml", "earliest" if start else None, accept_cold=True
    )
    loop, _ = scorer_loop(settings, deployment, listener)
    deadline = time.monotonic() + DEADLINE_SECONDS

    def beat() -> None:
        health.heartbeat()
        done = sum(h.records for h in told if isinstance(h, BatchCommitted))
        assert time.monotonic() < deadline, f"{done} of {transactions}: {told[-3:]}"
        if done >= transactions:
            loop.stop()

    loop.run(beat)
    return told, health


def seen(rows: Sequence[Row], terminal: str, at: int) -> tuple[float, float]:
    """Return (count, frauds) of a terminal's window."""
    mine = sorted((when, fraud) for name, when, fraud in rows if name == terminal)
    times = [when for when, _ in mine]
    first = bisect_right(times, at - PLAN.terminal_delay_ms - WINDOW)
    last = bisect_right(times, at - PLAN.terminal_delay_ms)
    return last - first, sum(fraud for _, fraud in mine[first:last])


def hold_to(kafka: Kafka, records: Sequence[Sent], rows: Sequence[Row]) -> dict[int, set[str]]:
    """Assert that every transaction is decided once, with the expected rows; return the flags."""
    flags: dict[int, set[str]] = {}
    for message in read_all(kafka, kafka.topics.decisions):
        found = decision(message.value())
        number = int(found["transaction_id"])
        assert number not in flags
        flags[number] = set(found["flags"])
        at = round(found["event_time"].timestamp() * 1_000)
        if "degraded" in flags[number]:
            continue
        count, frauds = seen(rows, found["terminal_id"], at)
        _, told, risk = found["features"]
        assert told == count
        assert risk == (frauds / count if count else 0.0)
        assert found["terminal_watermark"] is not None
    assert flags.keys() == {record.number for record in records if record.fraud is None}
    return flags


def test_rows_that_are_out_decide(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], store: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = month()
    send(kafka, records)
    profiled(kafka, len(records))
    paid = sum(record.fraud is None for record in records)

    told, health = scored(kafka, store, paid)

    rows = expected(records, 2**62)
    assert not any("degraded" in each for each in hold_to(kafka, records, rows).values())
    # It had read all rows before its first batch, and reported how many were left before that.
    first = next(at for at, h in enumerate(told) if isinstance(h, BatchCommitted))
    before = [h for h in told[:first] if isinstance(h, TerminalsRead)]
    assert before[0].left > 0
    assert before[-1].left == 0
    assert health.ready


def test_a_stopped_profiler_degrades_and_loses_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], store: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = month()
    cut = len(records) // 2
    send(kafka, records[:cut])
    profiled(kafka, cut)
    send(kafka, records[cut:], SENT + 100_000)
    paid = sum(record.fraud is None for record in records)

    started = time.monotonic()
    told, health = scored(kafka, store, paid)
    # It waited once, not for each batch.
    assert time.monotonic() - started < 30

    flags = hold_to(kafka, records, expected(records, 2**62))
    assert 0 < sum("degraded" in each for each in flags.values()) < len(flags)
    said = [h for h in told if isinstance(h, DependencyUnavailable)]
    assert [h.name for h in said] == ["terminal-profiles"]
    assert "degraded" in said[0].detail
    assert not health.ready
    assert "paused: terminal-profiles" in "".join(health.reasons())

    # The profiler returns; the scorer then recovers, and later decisions are not degraded.
    profiled(kafka, len(records) - cut)
    newest = max(record.event_time for record in records)
    more = [Sent(10_000 + at, newest + at * 1_000, customer=at % 9) for at in range(50)]
    send(kafka, more, SENT + 200_000)
    told, health = scored(kafka, store, len(more), start=False)
    assert health.ready
    assert not any(isinstance(h, DependencyUnavailable | DependencyBack) for h in told)
    flags = hold_to(kafka, [*records, *more], expected(records, 2**62))
    assert not any("degraded" in flags[each.number] for each in more)
