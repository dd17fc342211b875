"""The last label known in time counts in a batch job; labels of other transactions are refused."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch import labels as batch_labels
from stream_scorer.batch.job import JobProgress
from stream_scorer.batch.labels import Frauds, read_frauds
from stream_scorer.batch.run import run_batch
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Settings
from stream_scorer.tables.files import find_files
from tests.support.batch.batch_cases import AS_OF, write
from tests.support.batch.terminal_cases import PLAN, order_of, settings, table

__all__ = ["settings", "table"]


def test_a_label_applies_to_one_transaction_of_a_shared_id(tmp_path: Path) -> None:
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
    """Return the ids of the frauds."""
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
        (
            "l.csv",
            "transaction_id,is_fraud,event_time\n1,true,5\n1,true\n",
            "row 2: 2 values for 3",
        ),
        (
            "l.csv",
            "transaction_id,is_fraud,event_time\n1,true,soon\n",
            "'event_time': \"soon\" is not of",
        ),
        ("l.csv", "transaction_id,is_fraud,event_time\n", "holds no label"),
        ("l.jsonl", " ", "row 1: not JSON"),
        (
            "l.jsonl",
            '{"transaction_id": {}, "is_fraud": true, "event_time": 5}',
            "{} is not of type",
        ),
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
        run_batch(settings, order_of(source, tmp_path / "out.parquet", tmp_path / name))
    assert sorted(tmp_path.iterdir()) == before


def _moved(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def test_a_report_counts_labels_and_those_of_the_input(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    rows = table.num_rows
    ids = pa.array([f"else {row}" for row in range(10)])
    some = [_moved(table.slice(at, 10), "transaction_id", ids) for at in (0, 10)]
    others = _moved(pa.concat_tables(some), "is_fraud", pa.array([True] * 20))
    labels = pa.concat_tables([table, others.cast(table.schema)])
    known = labels["event_time"].cast(pa.int64()).to_numpy().copy()
    known[-10:] = AS_OF
    given = tmp_path / "labels.parquet"
    pq.write_table(labels.append_column("label_time", pa.array(known)), given)
    order = order_of(source, tmp_path / "out.parquet", given, part_rows=500)

    def stop(progress: JobProgress) -> None:
        if progress.rows > rows * 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(settings, order, stop)
    report = run_batch(settings, order)
    assert report.resumed_at > 0
    assert report.labels is not None
    expected = {"read": rows + 20, "in_time": rows + 10}
    assert {name: report.labels[name] for name in expected} == expected
    columns = (table[name].to_pylist() for name in ("transaction_id", "event_time", "is_fraud"))
    frauds = {(name, time) for name, time, fraud in zip(*columns, strict=True) if fraud}
    assert report.labels["frauds"] == len(frauds) + 10
    assert report.labels["frauds_in_input"] == len(frauds)
    without = run_batch(settings, order_of(source, tmp_path / "without.parquet", None))
    assert without.labels is None


_STRANGE: dict[str, Any] = {
    "seconds": lambda table: _moved(
        table, "event_time", pa.array(table["event_time"].cast(pa.int64()).to_numpy() // 1_000)
    ),
    "other ids": lambda table: _moved(
        table, "transaction_id", pa.array([f"x{row}" for row in range(table.num_rows)])
    ),
    "other customers": lambda table: _moved(
        table, "customer_id", pa.array(["nobody"] * table.num_rows)
    ),
}


@pytest.mark.parametrize("kind", _STRANGE)
@pytest.mark.parametrize("way", ["frauds", "genuine", "late"])
def test_labels_of_other_transactions_are_refused(
    kind: str, way: str, table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    """They are refused, whether or not they are frauds or were known in time."""
    source = write(table, tmp_path / "in.parquet")
    labels = table if way == "frauds" else _moved(
        table, "is_fraud", pa.array(np.full(table.num_rows, way == "late"))
    )  # fmt: skip
    if way == "late":
        labels = labels.append_column("label_time", pa.array([AS_OF + 10**11] * table.num_rows))
    sound = tmp_path / "sound.parquet"
    pq.write_table(labels, sound)
    run_batch(settings, order_of(source, tmp_path / "sound-out.parquet", sound))
    strange = tmp_path / "strange.parquet"
    pq.write_table(_STRANGE[kind](labels), strange)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingsError, match=f"none of {table.num_rows} belongs to a row of"):
        run_batch(settings, order_of(source, tmp_path / "out.parquet", strange))
    assert sorted(tmp_path.iterdir()) == before


def test_one_label_of_the_input_is_enough(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    (tmp_path / "labels.jsonl").write_text("".join(
        json.dumps({"transaction_id": name, "event_time": time, "is_fraud": False}) + "\n"
        for name, time in [(f"none {n}", 5) for n in range(9)]
        + [(table["transaction_id"][9].as_py(), table["event_time"].cast(pa.int64())[9].as_py())]
    ))  # fmt: skip
    report = run_batch(
        settings, order_of(source, tmp_path / "out.parquet", tmp_path / "labels.jsonl")
    )
    assert report.labels == {"read": 10, "in_time": 10, "frauds": 0, "frauds_in_input": 0}


def test_more_labels_than_the_sample_holds_are_still_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batch_labels, "_SAMPLE", 100)
    rows = 45_000
    names = [str(row) for row in range(rows)]
    labels = pa.table({"transaction_id": names, "event_time": [5] * rows,
                       "is_fraud": [False] * rows})  # fmt: skip
    pq.write_table(labels, tmp_path / "labels.parquet")
    (file,) = find_files(str(tmp_path / "labels.parquet"))
    frauds = read_frauds(file, PLAN)
    assert (len(frauds.sample), frauds.read) == (100, rows)
    records = pa.RecordBatch.from_pydict({"transaction_id": names, "event_time": [5] * rows})
    at = np.arange(rows)
    assert frauds.heard_of(EventBatch(records, np.zeros(rows, np.int32), at, at))
    other = records.set_column(1, "event_time", pa.array([6] * rows))
    assert not frauds.heard_of(EventBatch(other, np.zeros(rows, np.int32), at, at))
