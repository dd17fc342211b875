"""Features by terminal in a batch job: those that the core gives with the whole history known."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.apps.batch import run_batch
from stream_scorer.apps.batch_files import find_files
from stream_scorer.apps.batch_job import Order, Progress
from stream_scorer.apps.batch_labels import Frauds, read_frauds
from stream_scorer.apps.batch_terminals import Terminals
from stream_scorer.apps.history import fold
from stream_scorer.core.batch import EventBatch
from stream_scorer.core.features import compile_features
from stream_scorer.core.plan import Plan
from stream_scorer.core.profile_columns import labels_of, rows_of
from stream_scorer.core.profiles import Pending
from stream_scorer.core.terminals import TerminalTable
from stream_scorer.core.validation import LATEST_MS
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundle import DecisionThresholds, FeatureSpec, Period, Quality, Training
from stream_scorer.models.writer import Candidate, write_bundle
from stream_scorer.settings import Settings, load_settings
from tests.unit.apps.batch_cases import AS_OF, transactions, write

PLAN = Plan()
DAY = 86_400_000


def _by_terminal(kind: str, days: int) -> FeatureSpec:
    name = f"{kind}_{days}"
    window, key = f"{days}d", "terminal_id"
    return {"name": name, "kind": kind, "window": window, "key": key, "delay": "7d"}


FEATURES: tuple[FeatureSpec, ...] = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "WEEK", "kind": "count", "window": "7d"},
    *(_by_terminal(kind, days) for kind in ("count", "risk") for days in (1, 30)),
)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Transactions at few terminals, a tenth of them frauds, some doubled."""
    table = transactions(50, 60)
    numbers = np.random.default_rng(3)
    rows = table.num_rows
    order = np.arange(rows)
    order[numbers.integers(1, rows, 30)] -= 1
    terminal = pa.array([str(number) for number in numbers.integers(0, 12, rows)])
    fraud = pa.array(numbers.random(rows) < 0.1)
    for name, values in (("terminal_id", terminal), ("is_fraud", fraud)):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table.take(pa.array(order))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose store has a model with features by terminal."""
    store = tmp_path_factory.mktemp("store")
    rows = np.random.default_rng(0).random((500, len(FEATURES))) * 5
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(rows, rows[:, 5] > 2)
    period = Period(first_day=date(2018, 4, 1), last_day=date(2018, 4, 2), rows=9, frauds=1)
    share = 0.5
    quality = Quality(period=period, auc=share, average_precision=share,
                      review_or_block_rate=share, block_rate=share)  # fmt: skip
    write_bundle(
        store,
        Candidate(
            name="terminals", version="1.0.0", model=model, features=FEATURES,
            thresholds=DecisionThresholds(review=0.5, block=0.9),
            training=Training(train=period, validation=quality, test=quality),
        ),
        rows,
    )  # fmt: skip
    (store / "terminals" / "plan.toml").write_text("[currencies]\nEUR = 2\n")
    return load_settings({"models": {"directory": store}})


def _order(source: Path, out: Path, labels: Path | None, **options: Any) -> Order:
    told = None if labels is None else str(labels)
    return Order(str(source), out, "terminals", labels=told, as_of=AS_OF, features=True, **options)


def _features(path: Path) -> bytes:
    columns = pq.read_table(path, columns=[spec["name"] for spec in FEATURES]).columns
    return np.column_stack([column.to_numpy() for column in columns]).tobytes()


@pytest.mark.parametrize("part_rows", [700, 10**6])
def test_the_features_are_those_of_training(
    table: pa.Table, settings: Settings, part_rows: int, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    report = run_batch(
        settings, _order(source, tmp_path / "out.parquet", source, part_rows=part_rows)
    )
    compiled = compile_features(FEATURES, PLAN)
    expected = fold(table, compiled, PLAN, table["is_fraud"].to_numpy())
    assert report.degraded == 0
    assert len(np.unique(expected.features[:, 5])) > 50
    assert _features(tmp_path / "out.parquet") == expected.features.tobytes()
    out = pq.read_table(tmp_path / "out.parquet")
    delay = out["event_time"].cast(pa.int64()).to_numpy() - PLAN.terminal_delay_ms
    assert out["terminal_watermark"].cast(pa.int64()).to_numpy().tolist() == delay.tolist()


def test_without_labels_every_decision_says_that_it_lacks_them(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    report = run_batch(settings, _order(source, tmp_path / "out.parquet", None))
    out = pq.read_table(tmp_path / "out.parquet")
    assert report.degraded == out.num_rows > 0
    assert out["flags"].to_pylist() == [["degraded"]] * out.num_rows
    assert out["terminal_watermark"].null_count == out.num_rows


def test_a_job_goes_on_with_its_terminals(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    out, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    run_batch(settings, _order(source, whole, source, part_rows=500))

    def stop(progress: Progress) -> None:
        if progress.rows > table.num_rows * 0.8:
            raise KeyboardInterrupt

    order = _order(source, out, source, part_rows=500)
    with pytest.raises(KeyboardInterrupt):
        run_batch(settings, order, stop)
    assert run_batch(settings, order).resumed_at > table.num_rows / 2
    assert out.read_bytes() == whole.read_bytes()


def _sent_again(table: pa.Table) -> pa.Table:
    """Return transactions some of which come again: under their own time, a later or earlier one.

    After 72 hours the first one's row is pending in the profiler, after 150 it has left; after 200
    the ring has forgotten it too.
    """
    times = table["event_time"].cast(pa.int64()).to_numpy()
    numbers = np.random.default_rng(5)
    source, shown, arrival = [np.arange(len(times))], [times], [times]
    for moved, hours in (
        (0.0, (0.3, 72, 150)), (1.0, (0.3, 72, 150, 200)), (-0.5, (0.3, 72, 150)), (0.5, (72, 150)),
        (1.0, (0.3, 72)), (0.5, (0.3, 72)), (0.01, (150,)),
    ):  # fmt: skip
        rows = numbers.choice(len(times), 200, replace=False)
        ms = (numbers.choice(hours, len(rows)) * 3_600_000).astype(np.int64)
        source.append(rows)
        shown.append(times[rows] + (ms * moved).astype(np.int64))
        arrival.append(times[rows] + ms)
    order = np.argsort(np.concatenate(arrival), kind="stable")
    again = table.take(pa.array(np.concatenate(source)[order]))
    moved_times = pa.array(np.concatenate(shown)[order]).cast(pa.timestamp("ms"))
    return again.set_column(again.schema.get_field_index("event_time"), "event_time", moved_times)


def _profiled(table: pa.Table) -> TerminalTable:
    """Return the rows that the profiler makes of a partition whose labels all come at once."""
    (records,) = table.combine_chunks().to_batches()
    times = np.asarray(records.column("event_time").cast(pa.int64()))
    count = len(records)
    rows = rows_of(EventBatch(records, np.zeros(count, np.int32), np.arange(count), times))
    named = records.append_column("label_time", records.column("event_time"))
    labels = labels_of(named, np.ones(count, np.int32), np.arange(count))
    hold = PLAN.terminal_delay_ms - PLAN.terminal_slack_ms
    pending = Pending(1, 2, hold, PLAN.lateness_ms)
    found = TerminalTable()
    nothing = np.empty(0, np.int64)
    pending.keep(pending.fold(rows.take(nothing), nothing, nothing, labels, np.arange(count)))
    last = replace(rows.take(np.array([count - 1])), event_time=np.array([times.max() + 10 * DAY]))
    for piece in (*(rows.take(some) for some in np.array_split(np.arange(count), 99)), last):
        at = np.arange(len(piece))
        folded = pending.fold(piece, piece.event_time, at, labels.take(nothing), nothing)
        pending.keep(folded)
        settled = folded.settled
        found.add(settled.rows.terminal_id, settled.rows.event_time, settled.fraud)
    found.watermark = int(times.max())
    return found


@pytest.mark.parametrize("part_rows", [700, 10**6])
def test_a_transaction_that_is_sent_again_counts_as_the_profiler_counts_it(
    table: pa.Table, settings: Settings, part_rows: int, tmp_path: Path
) -> None:
    again = _sent_again(table)
    source = write(again, tmp_path / "in.parquet")
    report = run_batch(
        settings, _order(source, tmp_path / "out.parquet", source, part_rows=part_rows)
    )
    assert set(report.rejected) == {"DUPLICATE"}
    out = pq.read_table(tmp_path / "out.parquet")
    delayed = compile_features(FEATURES, PLAN).engine.delayed
    observed = np.zeros((out.num_rows, 16))
    times = out["event_time"].cast(pa.int64()).to_numpy()
    terminals = out["terminal_id"].combine_chunks().cast(pa.string())
    told = _profiled(again)
    assert len(told) > table.num_rows + 100
    told.observe(delayed, terminals, times, observed)
    for kind, window, column in delayed.operations.tolist():
        name = f"{('count', 'risk')[kind]}_{(1, 30)[window]}"
        assert out[name].to_numpy().tolist() == observed[:, column].tolist(), name


def test_a_label_is_of_one_transaction_though_others_share_its_id(tmp_path: Path) -> None:
    labels = [("a", 5, "c1", True), ("a", 6, "c1", False), ("b", 5, "c1", True)]
    names = ("transaction_id", "event_time", "customer_id", "is_fraud")
    lines = pa.Table.from_pylist([dict(zip(names, label, strict=True)) for label in labels])
    write(lines, tmp_path / "with.parquet")
    write(lines.drop(["customer_id"]), tmp_path / "without.parquet")
    events = [("a", 5, "c1"), ("a", 6, "c1"), ("b", 5, "c1"), ("b", 5, "c2"), ("b", 7, "c1")]
    records = pa.RecordBatch.from_pylist(
        [dict(zip(names[:3], event, strict=True)) for event in events],
    )
    asked = EventBatch(records, np.zeros(5, np.int32), np.arange(5), np.zeros(5, np.int64))
    found = {}
    for name in ("with", "without"):
        (file,) = find_files(str(tmp_path / f"{name}.parquet"))
        found[name] = read_frauds(file, PLAN).among(asked).tolist()
    assert found["with"] == [True, False, True, False, False]
    assert found["without"] == [True, False, True, True, False]


def test_a_label_without_its_customer_is_refused(tmp_path: Path) -> None:
    text = "transaction_id,is_fraud,event_time,customer_id\n1,true,5,c1\n2,true,5,\n"
    (tmp_path / "labels.csv").write_text(text)
    (file,) = find_files(str(tmp_path / "labels.csv"))
    with pytest.raises(SettingsError, match="row 2: column 'customer_id' is empty"):
        read_frauds(file, PLAN)


def _frauds(frauds: Frauds, ids: Iterable[str], event_time: int) -> list[str]:
    """Return which ids are frauds."""
    names = list(ids)
    records = pa.RecordBatch.from_pydict(
        {"transaction_id": names, "event_time": [event_time] * len(names)}
    )
    count = len(names)
    at = np.arange(count)
    events = EventBatch(records, np.zeros(count, np.int32), at, at)
    return [name for name, fraud in zip(names, frauds.among(events), strict=True) if fraud]


def test_the_last_label_that_was_known_in_time_counts(tmp_path: Path) -> None:
    event, hold = 1_000_000, PLAN.terminal_delay_ms - PLAN.terminal_slack_ms
    labels = [
        ("at once", True, None),
        ("at the last moment", True, event + hold),
        ("too late", True, event + hold + 1),
        ("taken back", True, event + 5), ("taken back", False, event + 6),
        ("taken back first", False, event + 6), ("taken back first", True, event + 5),
        ("taken back too late", True, event + 5), ("taken back too late", False, event + hold + 1),
        ("twice at once", False, event + 5), ("twice at once", True, event + 5),
        ("genuine", False, None),
    ]  # fmt: skip
    lines = [
        json.dumps({"transaction_id": t, "is_fraud": f, "label_time": k, "event_time": event})
        for t, f, k in labels
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    (file,) = find_files(str(tmp_path / "labels.jsonl"))
    ids = dict.fromkeys(label[0] for label in labels)
    found = _frauds(read_frauds(file, PLAN), [*ids, "unheard of"], event)
    assert found == ["at once", "at the last moment", "taken back too late", "twice at once"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("l.csv", "transaction_id,is_fraud\n1,true\n", "column 'event_time' is missing"),
        ("l.csv", "transaction_id,is_fraud,event_time\n1,,5\n", "row 1: column 'is_fraud' is emp"),
        ("l.csv", "transaction_id,is_fraud,event_time\n1,perhaps,5\n", "l.csv: "),
        ("l.jsonl", '{"transaction_id": "1"\n', "row 1: not JSON"),
        ("l.parquet", "PAR1", "l.parquet: "),
        ("none.csv", "", "no such file"),
    ],
)
def test_labels_that_cannot_be_read(
    name: str, text: str, told: str, settings: Settings, table: pa.Table, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    if text:
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingsError, match=told):
        run_batch(settings, _order(source, tmp_path / "out.parquet", tmp_path / name))
    assert sorted(tmp_path.iterdir()) == before


def _terminals() -> Terminals:
    nothing = np.empty(0, np.uint64)
    frauds = Frauds(nothing, by_customer=True, sample=nothing, read=0, in_time=0)
    return Terminals(compile_features(FEATURES, PLAN).engine.delayed, frauds, PLAN)


def test_no_event_shares_a_piece_with_what_it_sees() -> None:
    terminals = _terminals()
    delay = PLAN.terminal_delay_ms
    numbers = np.random.default_rng(0)
    for _ in range(200):
        rows = int(numbers.integers(1, 40))
        time = np.sort(numbers.integers(0, 6 * delay, rows)) + numbers.integers(0, 1_000, rows)
        cuts = terminals.pieces(time, LATEST_MS)
        assert [row for cut in cuts for row in range(rows)[cut]] == list(range(rows))
        for cut in cuts:
            assert time[cut].max() - time[cut].min() < delay
    assert terminals.pieces(np.empty(0, np.int64), LATEST_MS) == []
    # What is as old as the delay is seen; what is a millisecond younger is not.
    assert terminals.pieces(np.array([5, 5 + delay]), LATEST_MS) == [slice(0, 1), slice(1, 2)]
    assert terminals.pieces(np.array([5, 4 + delay]), LATEST_MS) == [slice(0, 2)]


def test_a_time_that_is_rejected_cuts_nothing() -> None:
    """Nor does it overflow, as the difference of a valid time to the least one did."""
    delay, day = PLAN.terminal_delay_ms, 1_600_000_000_000
    bad = [-(2**63), -1, day + 9 * delay, LATEST_MS + 1, 2**63 - 1]
    time = np.array([day, *bad, day + 1, *bad, day + delay, *bad])
    assert _terminals().pieces(time, day + 2 * delay) == [slice(0, 12), slice(12, 18)]
