"""A batch job decides as the stream does, whatever its files' names and parts are."""

import json
from pathlib import Path
from typing import Any

import fastavro
import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.errors import SettingsError
from tests.support.batch.batch_cases import (
    AS_OF,
    by_core,
    decisions_by_core,
    run,
    transactions,
    write,
)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Transactions; some are out of order within the lateness, duplicates, or rejected."""
    table = transactions()
    numbers = np.random.default_rng(1)
    rows = table.num_rows
    amount = table["amount_minor"].to_numpy().copy()
    amount[numbers.integers(0, rows, 20)] = -1
    order = np.arange(rows)
    order[[500, 501]] = order[[501, 500]]
    order[numbers.integers(1, rows, 20)] -= 1
    at = table.schema.get_field_index("amount_minor")
    return table.set_column(at, table.schema.field(at), pa.array(amount)).take(pa.array(order))


def avro(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        records: Any = fastavro.reader(file)
        return list(records)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".avro"])
def test_every_kind_of_file_gives_the_streams_decisions(
    table: pa.Table, ending: str, tmp_path: Path
) -> None:
    source = write(table, tmp_path / f"in{ending}")
    for rows in (700, 10**6):
        report = run(source, tmp_path / f"{rows}.avro", part_rows=rows)
        found = avro(tmp_path / f"{rows}.avro")
        assert found == decisions_by_core(table, str(source))
        assert report.rows == table.num_rows
        assert sum(report.outcomes.values()) + sum(report.rejected.values()) == report.rows
        assert set(report.rejected) == {"AMOUNT_NEGATIVE", "DUPLICATE"}


def test_parquet_output_equals_avro_output(table: pa.Table, tmp_path: Path) -> None:
    source = write(table, tmp_path / "in.parquet")
    run(source, tmp_path / "out.avro", features=True)
    run(source, tmp_path / "out.parquet", features=True, part_rows=900)
    read = pq.read_table(tmp_path / "out.parquet")
    assert read.to_pylist() == avro(tmp_path / "out.avro")
    scored = by_core(table, 10**6)[0].decisions
    width = scored.features.shape[1]
    features = np.column_stack([column.to_numpy() for column in read.columns[-width:]])
    assert features.tobytes() == scored.features.tobytes()
    assert read["score"].to_numpy().tobytes() == scored.score.tobytes()
    assert len(read.schema.names) == 27 + width
    assert str(read.schema.field("decision").type) == "string"


@pytest.mark.parametrize("part_rows", [10**6, 900, 100])
@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_all_readers_find_all_rows_of_all_parts(
    table: pa.Table, name: str, part_rows: int, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    # The first parts have only history, so they have no rows.
    since = int(table["event_time"].cast(pa.int64())[500].as_py())
    options: dict[str, Any] = {"features": True, "since": since, "part_rows": part_rows}
    run(source, tmp_path / "out.avro", **options)
    expected = avro(tmp_path / "out.avro")
    out = tmp_path / name
    run(source, out, **options)
    found = pq.read_table(out)
    found.validate(full=True)
    assert found.to_pylist() == expected
    assert pl.read_parquet(out).to_arrow().to_pylist() == expected
    parts = -(-table.num_rows // part_rows)
    if name == "out":
        assert sorted(path.name for path in out.iterdir()) == [
            "_SUCCESS", *(f"part-{part:05d}.parquet" for part in range(parts)),
        ]  # fmt: skip
    else:
        assert pq.read_metadata(out).num_row_groups <= parts
    assert {path.name for path in tmp_path.iterdir()} == {
        "in.parquet", name, f"{name}.rejects.jsonl", "out.avro", "out.avro.rejects.jsonl",
    }  # fmt: skip


def test_an_input_that_ends_with_a_part_has_no_empty_part(table: pa.Table, tmp_path: Path) -> None:
    source = write(table.slice(0, 1_200), tmp_path / "in.parquet")
    run(source, tmp_path / "out", part_rows=600)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "_SUCCESS", "part-00000.parquet", "part-00001.parquet",
    }  # fmt: skip


def test_files_of_a_glob_are_one_input(table: pa.Table, tmp_path: Path) -> None:
    half = table.num_rows // 2
    write(table.slice(0, half), tmp_path / "day-1.parquet")
    write(table.slice(half), tmp_path / "day-2.csv")
    run(f"{tmp_path}/day-*", tmp_path / "out.avro", part_rows=333)
    found = avro(tmp_path / "out.avro")
    assert [d["score"] for d in found] == [d["score"] for d in decisions_by_core(table, "")]
    assert {d["source_topic"] for d in found} == {
        f"{tmp_path}/day-1.parquet",
        f"{tmp_path}/day-2.csv",
    }
    second = [d["source_offset"] for d in found if d["source_topic"].endswith("day-2.csv")]
    assert second == sorted(second)
    assert second[0] < 10


def test_an_fsspec_url_is_read(table: pa.Table, tmp_path: Path) -> None:
    source = write(table, tmp_path / "in.parquet")
    with fsspec.open("memory://bucket/in.parquet", "wb") as file:
        file.write(source.read_bytes())
    run("memory://bucket/in.parquet", tmp_path / "out.avro")
    found = avro(tmp_path / "out.avro")
    assert len(found) == len(decisions_by_core(table, ""))
    assert found[0]["source_topic"] == "memory:///bucket/in.parquet"


def test_rejects_contain_place_reason_and_content(tmp_path: Path) -> None:
    good = transactions(3, 5).slice(0, 4).to_pylist()
    rows = [
        {**row, "event_time": row["event_time"].isoformat(), "transaction_id": str(number)}
        for number, row in enumerate(good)
    ]
    bad: list[tuple[object, str]] = [
        ({**rows[0], "amount_minor": "much"}, "MALFORMED"),
        ({**rows[0], "amount_minor": None}, "MALFORMED"),
        ({**rows[0], "amount_minor": float("nan")}, "MALFORMED"),
        ({**rows[0], "amount_minor": 10**30}, "MALFORMED"),
        ({**rows[0], "amount_minor": [1]}, "MALFORMED"),
        ({**rows[0], "event_time": "yesterday"}, "MALFORMED"),
        ({**rows[0], "event_time": "2035-01-01"}, "TIME_AHEAD"),
        ({**rows[0], "event_time": -5}, "TIME_INVALID"),
        ({**rows[0], "currency": "XXX"}, "CURRENCY"),
        ({**rows[0], "customer_id": ""}, "ID_EMPTY"),
        ({**rows[0], "customer_id": None}, "ID_EMPTY"),
        ({**rows[0], "customer_id": "c" * 1_025}, "TOO_LARGE"),
        ({**rows[0], "amount_minor": 10**13}, "AMOUNT_TOO_LARGE"),
        (rows[0], "DUPLICATE"),
        ([], "MALFORMED"),
        ("{", "MALFORMED"),
    ]
    lines = [json.dumps(rows[0])]
    lines += [row if isinstance(row, str) else json.dumps(row) for row, _ in bad]
    lines += [json.dumps(row) for row in rows[1:]]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines))
    report = run(source, tmp_path / "out.parquet")
    assert report.rejects == tmp_path / "out.parquet.rejects.jsonl"
    told = [json.loads(line) for line in report.rejects.read_text().splitlines()]
    assert [each["reason"] for each in told] == [reason for _, reason in bad]
    assert [each["source_offset"] for each in told] == list(range(1, len(bad) + 1))
    assert told[0]["record"]["amount_minor"] == "much"
    assert told[0]["detail"] == "amount_minor is not a whole number"
    assert told[-1]["record"] == "{"
    assert report.outcomes["APPROVE"] == 4


def test_history_is_remembered_and_not_decided(table: pa.Table, tmp_path: Path) -> None:
    source = write(table, tmp_path / "in.parquet")
    run(source, tmp_path / "all.parquet")
    whole = pq.read_table(tmp_path / "all.parquet")
    since = int(whole["event_time"].cast(pa.int64())[-1].as_py()) - 86_400_000
    report = run(source, tmp_path / "last.parquet", since=since)
    last = pq.read_table(tmp_path / "last.parquet")
    kept = np.flatnonzero(whole["event_time"].cast(pa.int64()).to_numpy() >= since)
    assert 0 < len(kept) < whole.num_rows / 10
    assert last.equals(whole.take(pa.array(kept)))
    assert sum(report.outcomes.values()) == len(kept)


def _spoilt(table: pa.Table, rows: list[int], name: str, values: list[Any]) -> pa.Table:
    column = table[name].to_pylist()
    for row, value in zip(rows, values, strict=True):
        column[row] = value
    at = table.schema.get_field_index(name)
    return table.set_column(at, name, pa.array(column))


def test_rejects_of_the_history_are_counted_by_their_own_day(
    table: pa.Table, tmp_path: Path
) -> None:
    """A negative amount, texts as times and an impossible time, before the day and on it."""
    times = table["event_time"].cast(pa.int64())
    since = times[-1].as_py() - 86_400_000
    rows = table.num_rows
    spoilt = _spoilt(table, [50, rows - 5], "amount_minor", [-7, -8])
    texts = [str(time) for time in times.to_pylist()]
    at = spoilt.schema.get_field_index("event_time")
    spoilt = _spoilt(
        spoilt.set_column(at, "event_time", pa.array(texts)),
        [60, 61, rows - 6, rows - 7], "event_time", ["soon", "-1", "soon", "-1"],
    )  # fmt: skip
    source = write(spoilt, tmp_path / "in.parquet")
    whole = run(source, tmp_path / "all.parquet")
    report = run(source, tmp_path / "last.parquet", since=since, part_rows=700)
    assert report.rejects is not None
    told = [json.loads(line) for line in report.rejects.read_text().splitlines()]
    # A row without a valid time is always reported, because it may belong to the day.
    assert [60, 61, rows - 7, rows - 6, rows - 5] == [
        each["source_offset"] for each in told
        if each["source_offset"] in {50, 60, 61} or each["source_offset"] > rows - 8
    ]  # fmt: skip
    assert all(each["record"]["event_time"] >= since for each in told if each["reason"] in {
        "AMOUNT_NEGATIVE", "DUPLICATE"})  # fmt: skip
    assert sum(report.rejected.values()) == len(told)
    assert report.history_rejected == sum(whole.rejected.values()) - len(told) > 10
    assert sum(report.outcomes.values()) == pq.read_metadata(tmp_path / "last.parquet").num_rows
    assert report.history + report.history_rejected + len(told) + sum(
        report.outcomes.values()) == rows  # fmt: skip


@pytest.mark.parametrize("amount", [5, -5])
def test_a_day_without_rows_is_an_empty_output(amount: int, tmp_path: Path) -> None:
    table = _spoilt(transactions(3, 5), [7], "amount_minor", [amount])
    source = write(table, tmp_path / "in.parquet")
    report = run(source, tmp_path / "out.parquet", since=AS_OF - 1)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert (report.rejects, report.rejected) == (None, {})
    assert report.history_rejected == (amount < 0)
    assert report.history == table.num_rows - report.history_rejected


def test_history_alone_that_is_rejected_is_refused(tmp_path: Path) -> None:
    table = transactions(3, 5)
    at = table.schema.get_field_index("currency")
    table = table.set_column(at, "currency", pa.array(["XYZ"] * table.num_rows))
    source = write(table, tmp_path / "in.parquet")
    told = f"no row can be decided: before --since {table.num_rows} — run it without --since"
    with pytest.raises(SettingsError, match=told):
        run(source, tmp_path / "out.parquet", since=AS_OF - 1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_disorder_is_refused_or_sorted(tmp_path: Path) -> None:
    table = transactions(10, 30)
    source = write(table, tmp_path / "in.parquet")
    run(source, tmp_path / "sorted.parquet")
    numbers = np.random.default_rng(0).permutation(table.num_rows)
    shuffled = write(table.take(pa.array(numbers)), tmp_path / "shuffled.parquet")
    with pytest.raises(SettingsError, match=r"shuffled.parquet: row \d+: its event_time .* --sort"):
        run(shuffled, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out*"))
    run(shuffled, tmp_path / "out.parquet", sort=True, part_rows=400)
    own = [name for name in pq.read_schema(tmp_path / "out.parquet").names if "source" not in name]
    found = pq.read_table(tmp_path / "out.parquet")
    expected = pq.read_table(tmp_path / "sorted.parquet")
    # Rows with equal times keep the order of the shuffled file; the sorted file has another order.
    time = expected["event_time"].cast(pa.int64()).to_numpy()
    alone = np.flatnonzero(np.bincount(np.unique(time, return_inverse=True)[1])[
        np.unique(time, return_inverse=True)[1]] == 1)  # fmt: skip
    assert len(alone) > 0.9 * len(time)
    assert found.select(own).take(alone).equals(expected.select(own).take(alone))
    assert found["source_offset"].to_numpy()[alone].tolist() == (
        np.argsort(numbers)[expected["source_offset"].to_numpy()[alone]].tolist()
    )


def test_an_empty_input_gives_an_empty_output(tmp_path: Path) -> None:
    source = write(transactions(2, 3).slice(0, 0), tmp_path / "in.parquet")
    for name in ("out.parquet", "out.avro"):
        assert run(source, tmp_path / name).rows == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert avro(tmp_path / "out.avro") == []


def test_every_decision_has_the_jobs_time(tmp_path: Path) -> None:
    source = write(transactions(2, 3), tmp_path / "in.parquet")
    run(source, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert set(found["decided_at"].cast(pa.int64()).to_pylist()) == {AS_OF}
    assert not any("late_decision" in flags for flags in found["flags"].to_pylist())
