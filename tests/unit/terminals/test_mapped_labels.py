"""The profiler reads a user's own labels by the plan, and publishes the same rows."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.reading.decode import TransactionDecoder
from stream_scorer.codec.reading.mapped import open_label_decoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.kafka.reading.replay import InputReplay
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.terminals.profiler_work import Decoders, ProfilerWork, RowEncoder
from tests.support.terminals.label_mappings import label_mappings
from tests.support.terminals.stage import SENT, Sent, foreign_label, month

FILES = FileRegistry(SCHEMAS_DIRECTORY)
LABELS: dict[str, Any] = {
    "format": "json", "where": "state == final", "transaction_id": "payment",
    "event_time": {"path": "paid", "unit": "s"}, "is_fraud": "bad",
    "label_time": {"path": "booked", "unit": "iso8601"},
}  # fmt: skip
DATED = {name: rule for name, rule in LABELS.items() if name != "event_time"}
CUSTOMER = {"customer_id": "card"}
BATCH = 300


def rows(
    records: Sequence[tuple[int, bytes | None]], plan: Plan, batch: int = BATCH
) -> tuple[list[bytes | None], dict[str, int], int]:
    """Return the rows of (partition, value) records, the rejections, and the number skipped."""
    decoders = Decoders(TransactionDecoder(FILES, plan), open_label_decoder(FILES, plan))
    encoder = RowEncoder(7, reader_schema("terminal-profile.v2"), "rows", 1)
    work = ProfilerWork(plan, 1, 2, decoders, encoder, {}, lambda _: None, _no_replay)
    found: list[bytes | None] = []
    rejected: dict[str, int] = {}
    skipped = 0
    for begin in range(0, len(records), batch):
        part = records[begin : begin + batch]
        at = np.arange(begin, begin + len(part))
        raw = RawRecords(
            BytesColumn.of([value for _, value in part]), BytesColumn.nulls(len(part)), None,
            np.array([partition for partition, _ in part], np.int32), at, SENT + at,
        )  # fmt: skip
        result = work.compute(raw, Stages())
        for each in result.outgoing:
            found += list(each.values)
        committed = work.keep(result, Stages(), raw)
        skipped += committed.skipped
        for reason, count in committed.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    return found, rejected, skipped


def told(values: Sequence[bytes | None]) -> list[tuple[str, Any, bool]]:
    """Return terminal, time and fraud of the rows, without watermarks."""
    codec = RecordCodec(7, reader_schema("terminal-profile.v2"))
    decoded = [codec.decode(value or b"", FILES) for value in values]
    names = ("terminal_id", "event_time", "fraud")
    return sorted(tuple(row[name] for name in names) for row in decoded if row["terminal_id"])


def _no_replay(partition: int, first: int, end: int) -> InputReplay:
    raise AssertionError(partition, first, end)


def place(record: Sent) -> int:
    return int(record.fraud is not None)


@pytest.mark.parametrize("labels", label_mappings(LABELS, DATED, CUSTOMER))
def test_mapped_labels_give_the_same_rows(labels: dict[str, Any]) -> None:
    dated = "event_time" not in labels
    # A label without an event time has its own time.
    records = [each for each in month() if not (dated and place(each) and each.label_time is None)]
    expected, duplicates, none = rows([(place(each), each.value) for each in records], Plan())
    assert len(expected) > 1_000
    assert none == 0
    theirs: list[tuple[int, bytes | None]] = []
    for number, record in enumerate(records):
        theirs.append((place(record), foreign_label(record) if place(record) else record.value))
        if number % 50 == 0:
            open_, bad = {"state": "open"}, {"state": "final", "bad": "perhaps"}
            values = (None, json.dumps(open_).encode(), json.dumps(bad).encode(), b"{")
            theirs += [(1, value) for value in values]
    plan = plan_from({"events": {"labels": labels}})
    found, rejected, skipped = rows(theirs, plan)
    others = len(theirs) - len(records)
    assert skipped == others // 2
    assert rejected == duplicates | {"MAPPING": others // 4, "MALFORMED": others // 4}
    # With further records in between, batches and offsets differ.
    assert told(found) == told(expected)
    plain = [(place(each), foreign_label(each) if place(each) else each.value) for each in records]
    assert rows(plain, plan) == (expected, duplicates, 0)
    for batch in (1, 37) if dated else ():
        assert told(rows(plain, plan, batch)[0]) == told(expected)
