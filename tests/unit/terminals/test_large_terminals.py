"""The id of a terminal with which its row would be too large to be sent."""

from typing import Any

import numpy as np

from stream_scorer.codec.reading.decode import ColumnDecoder, TransactionDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.kafka.topics.client_options import MESSAGE_BYTES_MAX
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.terminals.profiler_work import Decoders, ProfilerWork, RowEncoder

TIME, DAY = 1_522_540_800_000, 86_400_000
TRANSACTION = RecordCodec(1, reader_schema("transaction.v1"))


def test_a_transaction_with_such_a_terminal_has_no_row() -> None:
    plan = Plan(record_bytes_max=1_000_000, string_bytes_max=600_000)
    source = FileRegistry(SCHEMAS_DIRECTORY)
    decoders = Decoders(
        TransactionDecoder(source, plan), ColumnDecoder(source, reader_schema("label.v1"), plan)
    )
    rows = RowEncoder(7, reader_schema("terminal-profile.v2"), "rows", 1)
    replay: Any = None
    work = ProfilerWork(plan, 1, 2, decoders, rows, {}, lambda _: None, lambda *_: replay)
    times = np.array([TIME, TIME, TIME + 30 * DAY])
    values = [
        TRANSACTION.encode(
            {
                "transaction_id": f"t-{row}", "event_time": int(time), "customer_id": "c",
                "terminal_id": "x" * length, "amount_minor": 1, "currency": "EUR",
            }
        )
        for row, (time, length) in enumerate(zip(times, (600_000, 400_000, 1), strict=True))
    ]  # fmt: skip
    raw = RawRecords(
        BytesColumn.of(values), BytesColumn.of([b"c"] * 3), None, np.zeros(3, np.int32),
        np.arange(3), times,
    )  # fmt: skip
    result = work.compute(raw, Stages())
    assert result.delta.rejected == {"TOO_LARGE": 1}
    (sent,) = result.outgoing
    sizes = np.diff(sent.values.offsets) + np.diff(sent.keys.offsets)
    assert len(sizes) == 2
    assert 800_000 < sizes.max() < MESSAGE_BYTES_MAX
