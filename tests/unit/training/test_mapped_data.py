"""Training data with foreign columns give the same features as ours, including extra fields."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet, compile_features
from stream_scorer.core.mapping.mapping import BASE_AMOUNT, training_labels
from stream_scorer.core.normalising.normalise import BaseAmounts
from stream_scorer.errors import SettingsError
from stream_scorer.training.data import read_labelled, take
from stream_scorer.training.fold import fold
from stream_scorer.training.labelled import LabelledData
from tests.support.tables.foreign_files import (
    EVENTS,
    RATES,
    drawn,
    foreign_rows,
    plan_with,
    write_foreign,
)

SPECS = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "SPENT", "kind": "sum", "field": "amount", "window": "1d"},
    {"name": "WEIGHT", "kind": "passthrough", "field": "weight"},
    {"name": "BASKET", "kind": "max", "field": "basket", "window": "1d"},
    {"name": "SHOPS", "kind": "distinct", "field": "shop", "window": "7d"},
)
ENDINGS = ("parquet", "csv", "jsonl")


def compiled(plan: Plan) -> FeatureSet:
    return compile_features(SPECS, plan)


def taken(path: Path, plan: Plan, **changes: Any) -> LabelledData:
    given = {"sort": False, "most_rejected": 0.5, **changes}
    return take(path, compiled(plan), plan, **given)


def labels(count: int) -> list[int]:
    return [number % 3 == 0 for number in range(count)]


def test_features_are_those_of_our_own_columns(tmp_path: Path) -> None:
    plan = plan_with(EVENTS + RATES, currencies={"EUR": 2, "USD": 2})
    ours = drawn(150, seed=7, currencies=("EUR", "USD"))
    assert plan.mapping is not None
    converted, _, _ = BaseAmounts(plan.mapping, plan.currencies, 10**12).apply(ours)
    expected = fold(pa.Table.from_batches([converted]), compiled(plan), plan)
    rows = foreign_rows(ours)
    kept = [number for number, row in enumerate(rows) if row["op"] != "d"]
    fraud = labels(len(rows))
    for ending in ENDINGS:
        path = write_foreign(
            rows, tmp_path / f"in.{ending}", is_fraud=[int(each) for each in fraud]
        )
        found = taken(path, plan)
        assert found.features.tobytes() == expected.features.tobytes(), ending
        assert found.table["is_fraud"].to_pylist() == [fraud[number] for number in kept]
        assert np.array_equal(found.amounts, converted.column(BASE_AMOUNT).to_numpy())
        assert (found.rows, found.rejected) == (150, {})


def test_amounts_that_cannot_be_converted_are_left_out(tmp_path: Path) -> None:
    plan = plan_with(EVENTS + RATES, currencies={"EUR": 2, "USD": 2})
    rows = foreign_rows(drawn(30, seed=8))
    rows = [row for row in rows if row["op"] != "d"]
    rows[4]["after"]["iso"] = "CHF"
    path = write_foreign(rows, tmp_path / "in.jsonl", is_fraud=labels(30))
    found = taken(path, plan)
    assert (found.rows, len(found.table), found.rejected) == (30, 29, {"CURRENCY": 1})
    with pytest.raises(SettingsError, match="CURRENCY 1"):
        taken(path, plan, most_rejected=0.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"paid": None}, "in.{}: row 6: after.paid: null, and amount_minor takes none"),
        ({"land": "Utopia"}, "in.{}: row 6: after.land: the table for country"),
        ({"since": "yesterday"}, "in.{}: row 6: after.since: not a time in ISO 8601"),
    ],
)
def test_a_value_that_does_not_fit_is_one_error(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    rows = [row for row in foreign_rows(drawn(10)) if row["op"] != "d"]
    rows[5]["after"].update(change)
    for ending in ENDINGS:
        path = write_foreign(rows, tmp_path / f"in.{ending}", is_fraud=labels(10))
        with pytest.raises(SettingsError) as refused:
            taken(path, plan_with())
        assert told.format(ending) in refused.value.what


def test_labels_are_columns_of_the_file(tmp_path: Path) -> None:
    rows = [row for row in foreign_rows(drawn(10)) if row["op"] != "d"]
    for ending in ENDINGS:
        path = write_foreign(rows, tmp_path / f"none.{ending}")
        with pytest.raises(SettingsError, match="'is_fraud'"):
            taken(path, plan_with())
        path = write_foreign(rows, tmp_path / f"two.{ending}", is_fraud=([0, 1, 2] * 4)[:10])
        with pytest.raises(SettingsError, match=r"row 3: column 'is_fraud': \"?2\"? is not of "):
            taken(path, plan_with())
    with pytest.raises(SettingsError, match=r"extra\.is_fraud"):
        taken(path, plan_with(f'{EVENTS}is_fraud = {{path = "op", type = "string"}}'))


def test_labels_have_the_users_own_names_and_values(tmp_path: Path) -> None:
    rows = foreign_rows(drawn(40, seed=11))
    kept = [number for number, row in enumerate(rows) if row["op"] != "d"]
    assert len(kept) < len(rows)
    fraud = labels(len(rows))
    named: dict[str, Any] = {
        "flag": [int(each) for each in fraud],
        "verdict": ["chargeback" if each else "fine" for each in fraud],
        "told": [None if number % 2 else 5_000 + number for number in range(len(rows))],
    }
    # The label of a row that is not a transaction is not read.
    named["verdict"][next(n for n, row in enumerate(rows) if row["op"] == "d")] = "?"
    by_flag: dict[str, Any] = {"is_fraud": "flag", "label_time": {"path": "told", "unit": "ms"}}
    table = {"chargeback": True, "fine": False}
    by_table: dict[str, Any] = {"is_fraud": {"path": "verdict", "table": table}}
    for ending in ENDINGS:
        path = write_foreign(rows, tmp_path / f"in.{ending}", **named)
        found = taken(path, plan_with(), labels=training_labels(by_flag)).table
        assert found["is_fraud"].to_pylist() == [fraud[number] for number in kept], ending
        times = found["label_time"].cast(pa.int64()).to_pylist()
        assert times == [named["told"][number] for number in kept], ending
        found = taken(path, plan_with(), labels=training_labels(by_table)).table
        assert found["is_fraud"].to_pylist() == [fraud[number] for number in kept], ending
        assert found["label_time"].null_count == len(kept)
        named["verdict"][kept[3]] = "?"
        path = write_foreign(rows, tmp_path / f"bad.{ending}", **named)
        with pytest.raises(SettingsError, match=f"row {kept[3] + 1}: verdict: the table for is_fr"):
            taken(path, plan_with(), labels=training_labels(by_table))
        named["verdict"][kept[3]] = "chargeback" if fraud[kept[3]] else "fine"


def test_our_own_columns_may_have_labels_of_other_names(labelled: pa.Table, tmp_path: Path) -> None:
    table = labelled.slice(0, 500)
    names = ["flag" if name == "is_fraud" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), tmp_path / "in.parquet")
    found = read_labelled(tmp_path / "in.parquet", Plan(), training_labels({"is_fraud": "flag"}))
    assert found.table["is_fraud"].to_pylist() == table["is_fraud"].to_pylist()
    with pytest.raises(SettingsError, match=r"'is_fraud' is missing"):
        read_labelled(tmp_path / "in.parquet", Plan())
    with pytest.raises(SettingsError, match=r"labels\.is_fraud: .*flags"):
        read_labelled(tmp_path / "in.parquet", Plan(), training_labels({"is_fraud": "flags"}))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, "labels: must name is_fraud or label_time"),
        ("flag", "labels: must be a table"),
        ({"transaction_id": "id"}, "labels: unknown key 'transaction_id'"),
        ({"is_fraud": {"path": "flag", "unit": "ms"}}, "labels.is_fraud"),
        ({"label_time": {"path": "told", "unit": "minutes"}}, "labels.label_time.unit"),
    ],
)
def test_labels_that_cannot_be_read_so_are_refused(table: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        training_labels(table)


def test_disorder_names_the_row_of_the_file(tmp_path: Path) -> None:
    rows = foreign_rows(drawn(40, seed=9))
    rows.append({**rows[0], "after": {**rows[0]["after"], "payment_no": "again"}})
    assert any(row["op"] == "d" for row in rows)
    path = write_foreign(rows, tmp_path / "in.jsonl", is_fraud=labels(len(rows)))
    with pytest.raises(SettingsError, match=f"row {len(rows)}: its event_time"):
        taken(path, plan_with())
    assert len(taken(path, plan_with(), sort=True).table) == 41
