"""What decides whether a label is in time: reading order, idle partitions, late labels."""

from collections.abc import Callable

import pytest

from stream_scorer.errors import OffsetsError
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchCommitted, RowsSettled
from stream_scorer.terminals.profiler_process import profiler_loop
from tests.support.terminals.stage import (
    DAY,
    HOLD,
    HOUR,
    PARTITIONS,
    PLAN,
    SENT,
    START,
    Sent,
    profiled,
    rows_of,
    send,
    settings_of,
)

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

# A transaction this much later settles the row of the first one.
SETTLES = HOLD + PLAN.lateness_ms


def customers(partition: int) -> list[int]:
    return [c for c in range(200) if partition_of(f"c{c}".encode(), PARTITIONS) == partition]


def test_a_label_that_comes_when_the_row_has_left_is_counted(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    ours = customers(0)
    first, other = Sent(0, START, customer=ours[0]), Sent(1, START, customer=ours[1])
    in_time = Sent(0, START, True, START + DAY, ours[0])
    too_late = Sent(1, START, True, START + DAY, ours[1])
    settles = Sent(2, START + SETTLES, customer=ours[2])
    later = Sent(3, START + 2 * SETTLES, customer=ours[3])
    ahead = Sent(7, SENT + PLAN.ahead_ms + HOUR, True, None, ours[0])
    records = [first, ahead, other, in_time, settles, too_late, later]
    send(kafka, records)
    told = profiled(kafka, len(records))

    rows, _ = rows_of(kafka)
    assert [row for row in rows if row[1] == START] == [("t0", START, True), ("t1", START, False)]
    settled = [h for h in told if isinstance(h, RowsSettled)]
    assert sum(h.late_labels["delivered_late"] for h in settled) == 1
    # If it were kept, a label from the future would hold back the start offset of every restart.
    refused = [h.rejected for h in told if isinstance(h, BatchCommitted) and h.rejected]
    assert refused == [{"TIME_AHEAD": 1}]


def test_a_label_of_the_same_millisecond_is_read_first(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    ours = customers(1)
    first = Sent(0, START, customer=ours[0])
    label = Sent(0, START, True, START + DAY, ours[0])
    settles = Sent(2, START + SETTLES, customer=ours[1])
    send(kafka, [first])
    # The transaction that settles the row is sent before its label, with the same timestamp.
    send(kafka, [settles], SENT + 1_000)
    send(kafka, [label], SENT + 1_000)
    profiled(kafka, 3)
    rows, watermark = rows_of(kafka)
    assert rows == [("t0", START, True)]
    assert watermark == START


def test_idle_partitions_hold_nothing_and_busy_ones_do(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    behind, ahead = customers(2), customers(3)
    send(kafka, [Sent(0, START, customer=behind[0]), Sent(1, START, customer=ahead[0])])
    # Within a minute of Kafka time, both partitions count, so the slower one holds back the rows.
    send(kafka, [Sent(2, START + 2 * SETTLES, customer=ahead[0])], SENT + 30_000)
    profiled(kafka, 3)
    assert rows_of(kafka)[0] == []
    # A minute later the silent partition is idle.
    send(kafka, [Sent(3, START + 2 * SETTLES + HOUR, customer=ahead[0])], SENT + 61_000)
    profiled(kafka, 1, deployment=Deployment())
    rows, watermark = rows_of(kafka)
    assert [row[:2] for row in rows] == [("t0", START), ("t1", START)]
    assert watermark == START + SETTLES + HOUR
    # Its next transaction is too late for a row, and does not move the watermark back.
    send(kafka, [Sent(4, START + HOUR, customer=behind[0])], SENT + 62_000)
    told = profiled(kafka, 1, deployment=Deployment())
    assert sum(h.late_rows for h in told if isinstance(h, RowsSettled)) == 1
    assert rows_of(kafka) == (rows, watermark)


def test_rows_without_offsets_are_not_a_first_run(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    send(kafka, [Sent(0, START, customer=1), Sent(1, START + SETTLES, customer=1)])
    profiled(kafka, 2)
    with pytest.raises(OffsetsError, match="no committed offsets, though topic"):
        profiler_loop(
            settings_of(kafka.model_copy(update={"group": f"{kafka.group}-other"})),
            Deployment(start="earliest"),
            lambda _: None,
        )
    nothing = kafka_topics(kafka_settings())
    with pytest.raises(OffsetsError, match="no committed offsets"):
        profiler_loop(settings_of(nothing), Deployment(), lambda _: None)
