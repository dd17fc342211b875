"""A batch job reads foreign columns by the plan's mapping, and decides as with our own columns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch.input import BatchInput
from stream_scorer.batch.job import Job
from stream_scorer.batch.ledger import WorkDirectory
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.core.normalising.normalise import BaseAmounts
from stream_scorer.errors import SettingsError, StateError
from stream_scorer.tables.files import find_files
from tests.support.batch.batch_cases import run
from tests.support.tables.foreign_files import (
    ENDINGS,
    EVENTS,
    RATES,
    drawn,
    foreign_rows,
    plan_with,
    write_foreign,
)

SHIPPED = Path("models/fraud/plan.toml")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    folder = tmp_path / "plan"
    folder.mkdir()
    (folder / "plan.toml").write_text(SHIPPED.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "events.toml").write_text(EVENTS, encoding="utf-8")
    return folder


def decided(out: Path, rows: list[int] | None = None) -> list[dict[str, Any]]:
    """Return decisions without the source's name; rows are numbered as in ``rows``."""
    found = pq.read_table(out).drop_columns("source_topic").to_pylist()
    for row in found:
        if rows is not None:
            row["source_offset"] = rows.index(row["source_offset"])
    return found


def test_foreign_columns_are_decided_as_our_own(tmp_path: Path, plan: Path) -> None:
    ours = drawn(120)
    ours = ours.take(pa.array([*range(60), 59, *range(60, 120)]))
    pq.write_table(pa.Table.from_batches([ours]), tmp_path / "ours.parquet")
    native = run(tmp_path / "ours.parquet", tmp_path / "native.parquet")
    assert native.rejected == {"DUPLICATE": 1}
    rows = foreign_rows(ours)
    kept = [number for number, row in enumerate(rows) if row["op"] != "d"]
    for ending in ENDINGS:
        source = write_foreign(rows, tmp_path / f"in.{ending}")
        out = tmp_path / f"{ending}.parquet"
        report = run(source, out, plan=plan, part_rows=37)
        assert decided(out, kept) == decided(tmp_path / "native.parquet"), ending
        assert report.rejected == native.rejected
        assert (report.rows, report.skipped) == (len(rows), len(rows) - len(kept))
        assert report.rejects is not None
        (reject,) = map(json.loads, report.rejects.read_text().splitlines())
        assert reject["record"]["basket"] == ours.column("basket")[59].as_py()


def test_a_value_that_does_not_fit_is_one_reject_of_its_day(tmp_path: Path, plan: Path) -> None:
    rows = [row for row in foreign_rows(drawn(20, seed=5)) if row["op"] != "d"]
    rows[3]["after"]["paid"] = None
    rows[4]["after"]["land"] = "Utopia"
    rows[9]["ts"] = None
    for ending in ("jsonl", "parquet", "avro", "csv"):
        source = write_foreign(rows, tmp_path / f"in.{ending}")
        report = run(source, tmp_path / f"{ending}.avro", plan=plan)
        assert report.rejected == {"MAPPING": 3}
        assert report.rejects is not None
        rejects = [json.loads(line) for line in report.rejects.read_text().splitlines()]
        assert [(each["source_offset"], each["detail"]) for each in rejects] == [
            (3, "after.paid: null, and amount_minor takes none"),
            (4, "after.land: the table for country does not have this value"),
            (9, "ts: null, and event_time takes none"),
        ], ending
        assert rejects[1]["record"]["after.land"] == "Utopia"
    since = round(rows[12]["ts"] * 1_000)
    source = tmp_path / "in.jsonl"
    report = run(source, tmp_path / "late.avro", plan=plan, since=since, sort=True)
    # Without a time, the rejected row belongs to no day.
    assert (report.rejected, report.history_rejected) == ({"MAPPING": 1}, 2)


def test_a_segment_by_an_extra_field_decides(tmp_path: Path, plan: Path) -> None:
    (plan / "policy.toml").write_text(
        "[default]\nreview = 1\nblock = 1\n"
        '[[segment]]\nwhen = {shop = ["007", "true"]}\nreview = 1e-300\nblock = 1e-300\n'
        "[[segment]]\nwhen = {loyal = true}\nreview = 1e-300\nblock = 1\n"
    )
    rows = [row for row in foreign_rows(drawn(60)) if row["op"] != "d"]
    run(write_foreign(rows, tmp_path / "in.jsonl"), tmp_path / "out.parquet", plan=plan)
    found = decided(tmp_path / "out.parquet")
    assert len(found) == len(rows)
    for decision in found:
        after = rows[decision["source_offset"]]["after"]
        otherwise = "REVIEW" if after["loyal"] else "APPROVE"
        assert decision["decision"] == ("BLOCK" if after["shop"] in {"007", "true"} else otherwise)
    assert {each["decision"] for each in found} == {"APPROVE", "REVIEW", "BLOCK"}


def test_another_mapping_is_another_job(tmp_path: Path, plan: Path) -> None:
    source = write_foreign(foreign_rows(drawn(20)), tmp_path / "in.jsonl")
    out = tmp_path / "out.parquet"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Job, "_finish", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(source, out, plan=plan, part_rows=5)
    assert WorkDirectory(out).path.is_dir()
    (plan / "events.toml").write_text(EVENTS.replace('"after.mcc"', '"after.via"'))
    with pytest.raises(StateError, match="another plan"):
        run(source, out, plan=plan)


def _interrupted(_: Job) -> None:
    raise KeyboardInterrupt


def test_a_file_that_cannot_fit_ends_the_job_before_it_begins(tmp_path: Path, plan: Path) -> None:
    pq.write_table(pa.Table.from_batches([drawn(3)]), tmp_path / "ours.parquet")
    with pytest.raises(SettingsError) as refused:
        run(tmp_path / "ours.parquet", tmp_path / "out.parquet", plan=plan)
    assert "after: the file has no such column" in refused.value.what
    assert not (tmp_path / "out.parquet.unfinished").exists()


def test_rates_alone_convert_our_own_columns(tmp_path: Path) -> None:
    plan = plan_with(RATES, currencies={"EUR": 2, "USD": 2})
    ours = drawn(50, seed=3, currencies=("EUR", "USD", "CHF")).select(range(11))
    pq.write_table(pa.Table.from_batches([ours]), tmp_path / "ours.parquet")
    (batch,) = BatchInput(find_files(str(tmp_path / "ours.parquet")), plan).rows()
    assert plan.mapping is not None
    expected, good, refused = BaseAmounts(plan.mapping, plan.currencies, 10**12).apply(ours)
    assert refused
    assert batch.take(pa.array(good)).column(BASE_AMOUNT).equals(expected.column(BASE_AMOUNT))
    faults = {row: text for row, text in enumerate(batch.column("_fault").to_pylist()) if text}
    assert faults == {row: f"{reason}: {detail}" for row, reason, detail in refused}
