"""A file of labels: what is a label, what is not, and under which names."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from stream_scorer.core.events.validation import LATEST_MS
from stream_scorer.core.labelling.contract import DISPUTED, FRAUD, GENUINE, UNKNOWN
from stream_scorer.errors import SettingsError
from stream_scorer.labels.columns import LabelNames, read_names
from stream_scorer.labels.read import LabelRows, read_label_rows, with_ids

ROWS: list[dict[str, Any]] = [
    {
        "transaction_id": "a",
        "state": "FRAUD",
        "label_time": "2026-01-02T00:00:00Z",
        "source": "bank",
    },
    {"transaction_id": "b", "state": "genuine", "label_time": "1767312000000"},
    {"transaction_id": "c", "is_fraud": True, "drawn": 0.05},
    {"transaction_id": "d", "state": "DISPUTED", "reason_code": "10.4"},
    {"transaction_id": "e", "retracts": "x1", "source": "bank"},
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    texts = {
        name: [None if row.get(name) is None else str(row[name]) for row in rows] for name in names
    }
    table = pa.table({name: pa.array(column, pa.string()) for name, column in texts.items()})
    if path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def read(path: Path, names: LabelNames | None = None, source: str | None = None) -> LabelRows:
    return read_label_rows(path, names or LabelNames(), source)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_every_kind_of_file_has_the_same_labels(ending: str, tmp_path: Path) -> None:
    found = read(written(tmp_path / f"labels.{ending}", ROWS), source="desk")
    assert (found.rows, found.invalid, found.examples) == (5, 0, ())
    table = found.table.to_pydict()
    assert table["transaction_id"] == list("abcde")
    assert table["state"] == [FRAUD, GENUINE, FRAUD, DISPUTED, UNKNOWN]
    assert table["label_time"] == [1_767_312_000_000, 1_767_312_000_000, None, None, None]
    assert table["source"] == ["bank", "desk", "desk", "desk", "bank"]
    assert table["drawn"] == [None, None, 0.05, None, None]
    assert table["retracts"] == ["", "", "", "", "x1"]
    assert table["reason_code"] == ["", "", "", "10.4", ""]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"transaction_id": "", "state": "FRAUD"}, "no transaction id"),
        ({"transaction_id": "a", "state": "STOLEN"}, "states none of"),
        ({"transaction_id": "a"}, "states none of"),
        ({"transaction_id": "a", "state": "GENUINE", "is_fraud": True}, "states none of"),
        ({"transaction_id": "a", "state": "FRAUD", "label_time": -1}, "label time"),
        ({"transaction_id": "a", "state": "FRAUD", "label_time": LATEST_MS + 1}, "label time"),
        ({"transaction_id": "a", "state": "FRAUD", "label_time": "soon"}, "'soon' is not of type"),
        ({"transaction_id": "a", "state": "FRAUD", "drawn": 0}, "not a probability"),
        ({"transaction_id": "a", "state": "FRAUD", "drawn": "often"}, "not a probability"),
        ({"transaction_id": "a", "state": "FRAUD", "source": "s" * 1_025}, "1024 bytes"),
    ],
)
def test_a_row_that_is_not_a_label_is_counted(
    row: dict[str, Any], why: str, tmp_path: Path
) -> None:
    found = read(written(tmp_path / "labels.jsonl", [ROWS[0], row]))
    assert (found.rows, found.invalid, len(found.table)) == (2, 1, 1)
    (told,) = found.examples
    assert told.startswith("2: ")
    assert why in told


DEEP: Any = 0.5
for _ in range(900):
    DEEP = [DEEP]


@pytest.mark.parametrize("drawn", [[0.5], {"p": 0.5}, DEEP, True, "\ud800", "1" * 5_000, 10**400])
def test_a_draw_of_another_type_costs_its_row(drawn: Any, tmp_path: Path) -> None:
    rows = [ROWS[2], {"transaction_id": "a", "state": "FRAUD", "drawn": drawn}]
    found = read(written(tmp_path / "labels.jsonl", rows))
    assert (found.invalid, found.table["drawn"].to_pylist()) == (1, [0.05])
    assert found.examples[0].startswith("2: ")
    assert "\n" not in found.examples[0]


@pytest.mark.parametrize(
    "drawn",
    [
        pa.array([[0.5], None]), pa.array([{"p": 0.5}, None]), pa.array([b"\xff", None]),
        pa.array(["\ufdd0", None]), pa.array([None, None]), pa.array([0.5, None]),
        pa.array([0.5, None]).dictionary_encode(), pa.array([1, None], pa.decimal128(3, 2)),
    ],
)  # fmt: skip
def test_a_draw_of_any_type_in_parquet(drawn: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(
        pa.table({"transaction_id": ["a", "b"], "is_fraud": [True, True], "drawn": drawn}), path
    )
    found = read(path)
    assert found.rows == 2
    assert len(found.table) == 2 - found.invalid >= 1
    assert found.table["transaction_id"].to_pylist()[-1] == "b"


def test_columns_and_states_may_have_other_names(tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    names.write_text(
        '[labels]\ntransaction_id = "arn"\nstate = "result"\n[states]\nCHARGEBACK = "FRAUD"\n'
    )
    rows = [{"arn": "a", "result": "CHARGEBACK"}, {"arn": "b", "result": "GENUINE"}]
    found = read(written(tmp_path / "labels.csv", rows), read_names(names))
    assert found.table["state"].to_pylist() == [FRAUD, GENUINE]
    with pytest.raises(SettingsError, match="column 'transaction_id' is missing"):
        read(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[label]\n", "unknown key 'label'"),
        ('[labels]\nid = "x"\n', r"unknown key 'labels\.id'"),
        ("[labels]\nstate = 1\n", "must be a table of texts"),
        ('[states]\nX = "BAD"\n', r"states\.X: 'BAD' is not a state"),
        ('[states]\n"a\\nb" = "BAD"\n', r"states\.a\\nb: 'BAD' is not a state"),
        ('[labels]\nstate = "x"\nsource = "x"\n', "one column has two names"),
        ('[labels]\nstate = "is_fraud"\n', "'is_fraud' is state and is_fraud"),
        ('[labels]\nlabel_id = "transaction_id"\n', "'transaction_id' is transaction_id and lab"),
    ],
)
def test_faults_of_a_file_of_names_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "names.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_names(path)


def test_an_id_follows_from_the_contents_alone(tmp_path: Path) -> None:
    table = read(written(tmp_path / "labels.jsonl", [*ROWS, {**ROWS[0], "label_id": "own"}])).table
    customer = pa.chunked_array([pa.array(["c"] * 6)])
    ids = with_ids(table, customer)["label_id"].to_pylist()
    assert ids[5] == "own"
    assert len(set(ids)) == 6
    assert all(len(each) == 32 for each in ids[:5])
    other = pa.chunked_array([pa.array(["d"] * 6)])
    assert with_ids(table, customer)["label_id"].to_pylist() == ids
    assert not set(with_ids(table, other)["label_id"].to_pylist()[:5]) & set(ids)
