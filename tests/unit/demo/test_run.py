"""The demo's input, and its verdict, which fails for each fault."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading.decode import TransactionDecoder
from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.demo.city import sent_days
from stream_scorer.demo.found import found
from stream_scorer.demo.input import Spoiler
from stream_scorer.demo.input import traffic as made_traffic
from stream_scorer.demo.precision import Precision, precisions
from stream_scorer.demo.processes import MODEL
from stream_scorer.demo.report import DemoReport
from stream_scorer.demo.run import QUICK, Size
from stream_scorer.demo.verdict import Arrivals, OutputVerdict, Scores
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY, Registry, Settings
from stream_scorer.training.fold import fold

CHANGE_MS = 1_523_000_000_000
NOW_MS = 1_700_000_000_000
# Cached, because it takes seconds to make, and no test changes it.
traffic = cache(made_traffic)


HOUR_MS = 3_600_000
TIMES = CHANGE_MS + np.arange(-600, 3_000) * (HOUR_MS // 300)
"""300 transactions an hour, so each hour is judged."""


def drift(after_hours: int, kind: str = "drift", change: str = "opened") -> dict[str, Any]:
    start = datetime.fromtimestamp((CHANGE_MS + after_hours * HOUR_MS) / 1_000, UTC)
    return {
        "kind": kind, "change": change, "window_start": start,
        "window_end": start + timedelta(hours=1), "signal": "amount/level@all",
    }  # fmt: skip


def report(drifts: list[dict[str, Any]] | None = None, **changes: Any) -> DemoReport:
    nothing = np.empty(0, np.int64)
    drifts = [drift(0)] if drifts is None else drifts
    seen = OutputVerdict(
        transactions=100, decisions=98, dead_letters=2, duplicates=0, missing=0, unexpected=0,
        unreadable=0, degraded=0, outcomes={"APPROVE": 90, "REVIEW": 5, "BLOCK": 3},
        reasons={"EMPTY": 2}, examples={},
        arrivals=Arrivals(nothing, nothing, nothing, np.empty(0)),
        scores=Scores(pa.array([], pa.string()), np.empty(0)),
    )  # fmt: skip
    return DemoReport(
        verification=replace(seen, **changes),
        malformed={"EMPTY": 2},
        change_ms=CHANGE_MS,
        drifts=drifts,
        found=found(drifts, CHANGE_MS, TIMES),
        page=Path(__file__),
        burst_events=60,
        events_per_second=1_234.5,
        latency_ms=np.arange(101.0),
        precision=Precision(80, 7, 0.61234),
        changed_precision=Precision(18, 0, None),
        least_precision=0.6,
        seconds=3.21,
    )


def test_a_good_report_has_no_fault_and_all_keys() -> None:
    assert report().faults == []
    assert report().document() == {
        "transactions": 100, "malformed_sent": 2, "decisions": 98, "dead_letters": 2,
        "duplicates": 0, "missing": 0, "approve": 90, "review": 5, "block": 3,
        "events_per_second": 1234, "latency_p50_ms": 50.0, "latency_p99_ms": 99.0,
        "drift_events": 1, "drift_windows": 1, "report": __file__, "degraded": 0,
        "average_precision": 0.6123, "average_precision_over": 80,
        "average_precision_changed": None, "unexpected": 0, "seconds": 3.2, "ok": True,
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
        (report(degraded=5), "degraded: 5"),
        (report(drifts=[]), "the change was not found"),
        (report(drifts=[drift(-1)]), "the change was not found"),
        (report(drifts=[drift(2)]), None),
        (report(drifts=[drift(3)]), "found 4 windows after the change, not 3 or fewer"),
        (report(drifts=[drift(0), drift(-1)]), "drift events before the change: 1"),
        (report(drifts=[drift(0), drift(-9, change="closed")]), None),
        (report(drifts=[drift(0), drift(5, "fault")]), "faults of the data: amount/level@all"),
        (replace(report(), page=Path("/no/page")), "no report: /no/page"),
        (replace(report(), latency_ms=np.empty(0)), "no latency was measured"),
        (
            replace(report(), precision=Precision(80, 7, 0.5999)),
            "average precision: 0.5999, not at least 0.6",
        ),
        (
            replace(report(), precision=Precision(80, 0, None)),
            "average precision: None, not at least 0.6",
        ),
    ],
)
def test_each_fault_is_named(bad: DemoReport, named: str | None) -> None:
    if named is None:
        assert bad.faults == []
    else:
        assert named in bad.faults
        assert not bad.document()["ok"]


def test_behaviour_changes_at_noon_half_way() -> None:
    plain, spent = traffic(1).rows, traffic(2)
    times = spent.rows["event_time"].cast("int64").to_numpy()
    assert spent.change_ms % 86_400_000 == 86_400_000 // 2
    assert spent.change_ms // 86_400_000 - times[0] // 86_400_000 == 1
    assert times[0] < spent.change_ms < times[-1]
    before = times < spent.change_ms
    amounts = spent.rows["amount_minor"].to_numpy()
    assert np.mean(amounts[~before]) > 1.2 * np.mean(amounts[before])
    # The first days are the same, however many are sent.
    customers = spent.rows["customer_id"].to_numpy(zero_copy_only=False)
    assert (customers[: len(plain)] == plain["customer_id"].to_numpy(zero_copy_only=False)).all()


def test_changed_amounts_are_those_unlike_the_simulators() -> None:
    sent, plain = traffic(2), sent_days(2)
    amounts, were = (t["amount_minor"].to_numpy() for t in (sent.rows, plain))
    assert (sent.changed == (amounts != were)).all()
    assert 0 < sent.changed.sum() < len(were) / 2
    assert sent.rows["is_fraud"].equals(plain["is_fraud"])


def test_scores_join_labels_by_transaction_changed_ones_apart() -> None:
    sent = traffic(2)
    fraud = sent.rows["is_fraud"].to_numpy()
    ids = sent.rows["transaction_id"].combine_chunks()
    # Perfect scores for the unchanged ones in random order, constant ones for the changed, and one
    # for an unknown transaction.
    score = np.where(sent.changed, 0.5, fraud)
    order = np.random.default_rng(1).permutation(len(fraud))[:-9]
    some = pa.concat_arrays([ids.take(pa.array(order)), pa.array(["no-such"])])
    right, blind = precisions(Scores(some, np.append(score[order], 1.0)), sent)
    changed = sent.changed[order]
    assert right == Precision(int((~changed).sum()), int(fraud[order][~changed].sum()), 1.0)
    assert blind.transactions == changed.sum()
    assert blind.frauds > 0
    assert blind.value == pytest.approx(blind.frauds / blind.transactions)
    assert precisions(Scores(ids[:1], np.ones(1)), sent)[0] == Precision(1, 0, None)


@pytest.mark.parametrize(
    ("size", "found"),
    [pytest.param(Size(), 0.5468, marks=pytest.mark.thorough), (QUICK, 0.2938)],
)
def test_the_least_precision_is_reached_only_with_terminals(size: Size, found: float) -> None:
    model, plan = load_model(Settings(), Deployment(MODEL))
    sent = traffic(size.days)

    def reached(fraud: Any) -> float:
        rows = fold(sent.rows, model.features, plan, fraud)
        scores = model.predictor.scores(np.ascontiguousarray(rows.features))
        value = precisions(Scores(sent.rows["transaction_id"].combine_chunks(), scores), sent)[0]
        assert value.value is not None
        return value.value

    fraud = sent.rows["is_fraud"].to_numpy()
    assert reached(fraud) == pytest.approx(found, abs=1e-3)
    assert reached(fraud) > size.least_precision
    if size == Size():
        # In the quick demo, too few days have passed for labels to have an effect.
        assert reached(np.zeros(len(fraud), bool)) < size.least_precision


def test_each_bad_record_is_rejected_for_its_intended_reason() -> None:
    model, plan = load_model(Settings(), Deployment(MODEL))
    files = FileRegistry(SCHEMAS_DIRECTORY)
    encode = TransactionEncoder(Registry())
    spoiler = Spoiler(encode, files, NOW_MS)
    decoder, rings = TransactionDecoder(files, plan), PartitionRings(model.features)
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
        seen = observe(events, rings, plan, model.features)
        rings.release(seen.journals)
        return [*undecodable.reasons, *seen.rejections.reasons]

    good = encode(row.combine_chunks().to_batches()[0])[0]
    assert reasons(b"k", good, 0) == []
    made = [make(row) for make in spoiler.kinds()]
    assert [reasons(bad.key, bad.value, n + 1) for n, bad in enumerate(made)] == [
        [bad.reason] for bad in made
    ]
    # INTERNAL is a defect of the scorer, UNREADABLE cannot be made from bytes alone, and EDGE is by
    # headers.
    others = {
        RejectReason.INTERNAL, RejectReason.MAPPING, RejectReason.UNREADABLE, RejectReason.EDGE,
    }  # fmt: skip
    assert set(RejectReason) - others == {bad.reason for bad in made}
    assert spoiler.sent.total() == len(made) >= 13
