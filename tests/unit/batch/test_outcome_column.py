"""A column ``outcome`` says which transactions were blocked: without a label they are unknown."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch.job import JobProgress
from stream_scorer.batch.labels import read_frauds
from stream_scorer.batch.run import run_batch
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import plan_from
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Settings
from stream_scorer.tables.files import find_files
from tests.support.batch.batch_cases import write
from tests.support.batch.terminal_cases import DAY, order_of, settings, settings_of, table

__all__ = ["settings", "table"]

DELAY = 7 * DAY
UNKNOWN = 2


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return plan_with(tmp_path, "genuine")


def plan_with(folder: Path, in_risk: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(
        '[currencies]\nEUR = 2\n[label_policy]\nunlabelled = "genuine"\n'
        f'unlabelled_in_risk = "{in_risk}"\n'
    )
    return path


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose model is of engine 2: risk is that of the known rows."""
    return settings_of(tmp_path_factory.mktemp("second"), engine=2)


def published(table: pa.Table) -> pa.Table:
    """Return transactions of which a fifth was blocked, and a half has no label."""
    numbers = np.random.default_rng(9)
    outcome = numbers.choice(["APPROVE", "REVIEW", "BLOCK", ""], table.num_rows, p=[0.6, 0.1, 0.2,
                                                                                 0.1])  # fmt: skip
    without = pa.array(numbers.random(table.num_rows) < 0.5)
    at = table.schema.get_field_index("is_fraud")
    label = pa.array(table["is_fraud"].to_pylist(), mask=without.to_numpy(zero_copy_only=False))
    told = pa.array(outcome.tolist(), mask=outcome == "")
    return table.set_column(at, "is_fraud", label).append_column("outcome", told)


def states(table: pa.Table, in_risk: str) -> dict[str, int]:
    """Return what each transaction's row is, by its id, by the rule alone."""
    names = ("transaction_id", "is_fraud", "outcome")
    found = {}
    for name, fraud, outcome in zip(*(table[each].to_pylist() for each in names), strict=True):
        unlabelled = UNKNOWN if outcome == "BLOCK" or in_risk == "ignore" else 0
        found[name] = unlabelled if fraud is None else int(fraud)
    return found


@pytest.mark.parametrize("in_risk", ["genuine", "ignore"])
def test_what_was_blocked_without_a_label_is_unknown(
    table: pa.Table, second: Settings, tmp_path: Path, in_risk: str
) -> None:
    given = unrepeated(published(table))
    source, plan = write(given, tmp_path / "in.parquet"), plan_with(tmp_path, in_risk)
    report = run_batch(second, order_of(source, tmp_path / "out.parquet", source, plan=plan))
    state = states(given, in_risk)
    unknown = sum(each == UNKNOWN for each in state.values())
    assert report.labels is not None
    assert report.labels["outcome_column"] == 1
    assert report.labels["unknown"] == unknown > 50
    out = pq.read_table(tmp_path / "out.parquet")
    time = out["event_time"].cast(pa.int64()).to_numpy()
    terminal = np.array(out["terminal_id"].to_pylist())
    of = np.array([state[name] for name in out["transaction_id"].to_pylist()])
    for row in range(0, out.num_rows, 7):
        upper = time[row] - DELAY
        seen = (terminal == terminal[row]) & (time <= upper) & (time > upper - 30 * DAY)
        frauds, known = int((of[seen] == 1).sum()), int((of[seen] != UNKNOWN).sum())
        assert out["count_30"][row].as_py() == int(seen.sum())
        assert out["risk_30"][row].as_py() == (frauds / known if known else 0.0)


def unrepeated(table: pa.Table) -> pa.Table:
    """Return each transaction once."""
    keys: dict[str, int] = {}
    for row, key in enumerate(table["transaction_id"].to_pylist()):
        keys.setdefault(key, row)
    return table.take(pa.array(list(keys.values())))


def test_the_first_engine_counts_the_unknown_as_no_fraud(
    table: pa.Table, settings: Settings, plan: Path, tmp_path: Path
) -> None:
    source = write(published(table), tmp_path / "in.parquet")
    without = write(published(table).drop_columns(["outcome"]), tmp_path / "without.parquet")
    labels = write(
        published(table).filter(pc.is_valid(published(table)["is_fraud"])),
        tmp_path / "labels.parquet",
    )
    run_batch(settings, order_of(source, tmp_path / "one.parquet", source, plan=plan))
    report = run_batch(settings, order_of(without, tmp_path / "two.parquet", labels, plan=plan))
    assert report.labels is not None
    assert (report.labels["outcome_column"], report.labels["unknown"]) == (0, 0)
    one, two = (
        pq.read_table(tmp_path / f"{name}.parquet").drop_columns(["source_topic"])
        for name in ("one", "two")
    )
    assert one.equals(two)


def test_without_a_policy_the_column_is_not_read(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    strange = table.append_column("outcome", pa.array(["?"] * table.num_rows))
    source = write(strange, tmp_path / "in.parquet")
    report = run_batch(settings, order_of(source, tmp_path / "out.parquet", source))
    assert report.labels is not None
    assert "outcome_column" not in report.labels


def test_an_interrupted_job_still_knows_what_is_unknown(
    table: pa.Table, second: Settings, plan: Path, tmp_path: Path
) -> None:
    source = write(published(table), tmp_path / "in.parquet")
    out, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    options: dict[str, Any] = {"plan": plan, "part_rows": 500, "sort": True}
    complete = run_batch(second, order_of(source, whole, source, **options))

    def stop(progress: JobProgress) -> None:
        if progress.stage == "score" and progress.rows > table.num_rows * 0.8:
            raise KeyboardInterrupt

    order = order_of(source, out, source, **options)
    with pytest.raises(KeyboardInterrupt):
        run_batch(second, order, stop)
    report = run_batch(second, order)
    assert report.resumed_at > table.num_rows / 2
    assert out.read_bytes() == whole.read_bytes()
    assert report.labels == complete.labels


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_every_format_has_the_column(
    table: pa.Table, second: Settings, plan: Path, tmp_path: Path, ending: str
) -> None:
    given = published(table)
    parquet = write(given, tmp_path / "in.parquet")
    expected = run_batch(second, order_of(parquet, tmp_path / "one.parquet", parquet, plan=plan))
    milliseconds = given.set_column(
        given.schema.get_field_index("event_time"), "event_time",
        given["event_time"].cast(pa.int64()),
    )  # fmt: skip
    source = tmp_path / f"in.{ending}"
    if ending == "csv":
        pacsv.write_csv(milliseconds, source)
    else:
        lines = (
            {name: value for name, value in row.items() if value is not None}
            for row in milliseconds.to_pylist()
        )
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = run_batch(second, order_of(source, tmp_path / "two.parquet", parquet, plan=plan))
    assert report.labels == expected.labels
    assert report.labels is not None
    assert report.labels["unknown"] > 50


def test_other_columns_are_refused(
    table: pa.Table, second: Settings, plan: Path, tmp_path: Path
) -> None:
    outcomes = ["BLOCK", "block", *["APPROVE"] * (table.num_rows - 2)]
    wrong = table.append_column("outcome", pa.array(outcomes))
    source = write(wrong, tmp_path / "in.parquet")
    with pytest.raises(SettingsError, match=r"row 2: column 'outcome': \"block\" is not one of"):
        run_batch(second, order_of(source, tmp_path / "out.parquet", source, plan=plan))
    folder = tmp_path / "days"
    folder.mkdir()
    write(table, folder / "1.parquet")
    write(published(table), folder / "2.parquet")
    several = order_of(Path(f"{folder}/*.parquet"), tmp_path / "out.parquet", source, plan=plan)
    with pytest.raises(SettingsError, match=r"1\.parquet: column 'outcome' is missing, and .*2"):
        run_batch(second, several)
    mapped = tmp_path / "mapped"
    mapped.mkdir()
    (mapped / "plan.toml").write_text(plan.read_text())
    names = ("transaction_id", "customer_id", "terminal_id", "currency")
    lines = [f'{name} = "{name}"' for name in names]
    lines += ['event_time = {path = "event_time", unit = "ms", zone = "UTC"}']
    lines += ['amount = {path = "amount_minor", unit = "minor"}']
    (mapped / "events.toml").write_text("[fields]\n" + "\n".join(lines) + "\n")
    source = write(published(table), tmp_path / "foreign.parquet")
    with pytest.raises(SettingsError, match=r"column 'outcome' is not read where events\.toml"):
        run_batch(second, order_of(source, tmp_path / "out.parquet", source, plan=mapped))


def test_a_label_without_an_event_time_is_judged_by_the_event(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    lines = [("a", 5, False), ("b", 5, True), ("c", 9 * DAY, False)]
    file.write_text("".join(
        json.dumps({"tx": name, "label_time": known, "is_fraud": fraud}) + "\n"
        for name, known, fraud in lines
    ))  # fmt: skip
    mapping = (
        '[labels]\ntransaction_id = "tx"\nis_fraud = "is_fraud"\n'
        'label_time = {path = "label_time", unit = "ms"}\n'
    )
    plan = plan_from({"events": parse_events(mapping), "label_policy": {"unlabelled": "genuine"}})
    (found,) = find_files(str(file))
    frauds = read_frauds(found, plan, every=True)
    records = pa.RecordBatch.from_pydict({
        "transaction_id": ["a", "b", "c", "d"], "customer_id": ["x"] * 4,
        "event_time": pa.array([5] * 4, pa.timestamp("ms")),
    })  # fmt: skip
    at = np.arange(4)
    events = EventBatch(records, np.zeros(4, np.int32), at, at)
    # The label of c came too late, d has none.
    assert frauds.among(events).tolist() == [0, 1, 255, 255]
