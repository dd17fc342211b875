"""The demo's input and its verdict: what would make it fail does."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from stream_scorer.apps.demo_input import Spoiler, traffic
from stream_scorer.apps.demo_report import Report
from stream_scorer.apps.feeding import TransactionEncoder
from stream_scorer.apps.scorer import Deployment, load_model
from stream_scorer.apps.verdict import Arrivals, Verification
from stream_scorer.codec.avro import TransactionDecoder
from stream_scorer.codec.schemas import FileRegistry
from stream_scorer.core.batch import RejectReason
from stream_scorer.core.scorer import Rings, remember
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.settings import SCHEMAS_DIRECTORY, Registry, Settings

CHANGE_MS = 1_523_000_000_000
NOW_MS = 1_700_000_000_000


def drift(after_ms: int) -> dict[str, Any]:
    start = datetime.fromtimestamp((CHANGE_MS + after_ms) / 1_000, UTC)
    return {"signal": "amount", "window_start": start}


def report(drifts: list[dict[str, Any]] | None = None, **changes: Any) -> Report:
    nothing = np.empty(0, np.int64)
    seen = Verification(
        transactions=100, decisions=98, dead_letters=2, duplicates=0, missing=0, unexpected=0,
        unreadable=0, outcomes={"APPROVE": 90, "REVIEW": 5, "BLOCK": 3}, reasons={"EMPTY": 2},
        examples={}, arrivals=Arrivals(nothing, nothing, nothing, np.empty(0)),
    )  # fmt: skip
    return Report(
        verification=replace(seen, **changes),
        malformed={"EMPTY": 2},
        change_ms=CHANGE_MS,
        drifts=[drift(0)] if drifts is None else drifts,
        burst_events=60,
        events_per_second=1_234.5,
        latency_ms=np.arange(101.0),
        seconds=3.21,
    )


def test_a_good_report_has_no_fault_and_all_keys() -> None:
    assert report().faults == []
    assert report().document() == {
        "transactions": 100, "malformed_sent": 2, "decisions": 98, "dead_letters": 2,
        "duplicates": 0, "missing": 0, "approve": 90, "review": 5, "block": 3,
        "events_per_second": 1234, "latency_p50_ms": 50.0, "latency_p99_ms": 99.0,
        "drift_events": 1, "unexpected": 0, "seconds": 3.2, "ok": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (report(duplicates=1), "duplicates: 1"),
        (report(missing=2), "missing: 2"),
        (report(unexpected=3), "unexpected: 3"),
        (report(unreadable=4), "unreadable: 4"),
        (report(dead_letters=1), "dead letters: 1 for 2 malformed records"),
        (report(reasons={"FRAMING": 2}), "reasons: {'FRAMING': 2}, not {'EMPTY': 2}"),
        (report(drifts=[]), "no drift event"),
        (report(drifts=[drift(5), drift(-1)]), "drift events before the change: 1"),
        (replace(report(), latency_ms=np.empty(0)), "no latency was measured"),
    ],
)
def test_each_fault_is_named(bad: Report, named: str) -> None:
    assert bad.faults == [named]
    assert not bad.document()["ok"]


def test_behaviour_changes_at_the_midnight_half_way_and_not_before() -> None:
    plain, spent = traffic(1).rows, traffic(2)
    times = spent.rows["event_time"].cast("int64").to_numpy()
    assert spent.change_ms % 86_400_000 == 0
    assert times[0] < spent.change_ms < times[-1]
    before = times < spent.change_ms
    amounts = spent.rows["amount_minor"].to_numpy()
    assert np.mean(amounts[~before]) > 1.2 * np.mean(amounts[before])
    customers = spent.rows["customer_id"].to_numpy(zero_copy_only=False)
    assert len(plain) == before.sum()
    assert (customers[: len(plain)] == plain["customer_id"].to_numpy(zero_copy_only=False)).all()


def test_each_bad_record_is_rejected_for_the_reason_that_it_was_made_for() -> None:
    model, plan = load_model(Settings(), Deployment("fraud:1.0.0"))
    files = FileRegistry(SCHEMAS_DIRECTORY)
    encode = TransactionEncoder(Registry())
    spoiler = Spoiler(encode, files, NOW_MS)
    decoder, rings = TransactionDecoder(files, plan), Rings(model.features)
    row = traffic(1).rows.slice(0, 1)

    def reasons(key: bytes, value: bytes | None, offset: int) -> list[RejectReason]:
        one = RawRecords(
            BytesColumn.of([value]),
            BytesColumn.of([key]),
            None,
            np.zeros(1, np.int32),
            np.array([offset]),
            np.array([NOW_MS]),
        )
        events, _, undecodable = decoder.decode(one)
        seen = remember(events, rings, plan, model.features)
        rings.release(seen.journals)
        return [*undecodable.reasons, *seen.rejections.reasons]

    good = encode(row.combine_chunks().to_batches()[0])[0]
    assert reasons(b"k", good, 0) == []
    made = [make(row) for make in spoiler.kinds()]
    assert [reasons(bad.key, bad.value, n + 1) for n, bad in enumerate(made)] == [
        [bad.reason] for bad in made
    ]
    assert set(RejectReason) == {bad.reason for bad in made}
    assert spoiler.sent.total() == len(made) >= 13
