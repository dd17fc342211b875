"""The profiler's rows are correct, published once, and the same after aborts and restarts."""

from collections.abc import Callable

import pytest

from stream_scorer.ports import TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchAborted, RowsSettled
from tests.support.terminals.stage import (
    HOLD,
    PLAN,
    expected,
    month,
    profiled,
    rows_of,
    send,
)

pytestmark = pytest.mark.kafka


def test_rows_are_those_of_the_rule(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = month()
    send(kafka, records)
    told = profiled(kafka, len(records))

    rows, watermark = rows_of(kafka)
    newest = max(record.event_time for record in records)
    assert newest - watermark - HOLD - PLAN.lateness_ms < 24 * 3_600_000
    assert rows == expected(records, watermark)
    assert len({fraud for _, _, fraud in rows}) == 2
    settled = [h for h in told if isinstance(h, RowsSettled)]
    assert sum(h.rows for h in settled) == len(rows)
    late = sum(
        record.label_time is not None and record.label_time > record.event_time + HOLD
        for record in records
        if record.fraud is not None
    )
    counted = sum(sum(h.late_labels.values()) for h in settled)
    assert counted == late > 0


@pytest.mark.thorough
def test_aborts_and_restarts_change_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = month()
    send(kafka, records)
    sent = 0

    def abort(stage: str) -> None:
        nonlocal sent
        if stage == "send":
            sent += 1
            if sent % 2:
                raise TransactionAborted("injected", network=True)

    done = 0
    aborts = 0
    while done < len(records):
        part = min(400, len(records) - done)
        told = profiled(kafka, part, batch=90, hook=abort)
        aborts += sum(isinstance(h, BatchAborted) for h in told)
        done += sum(getattr(h, "records", 0) for h in told if not isinstance(h, BatchAborted))
    assert aborts > 4

    rows, watermark = rows_of(kafka)
    assert rows == expected(records, watermark)
