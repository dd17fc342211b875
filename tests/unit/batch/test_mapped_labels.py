"""A batch job reads a file of a user's own labels by the plan's mapping of labels."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch.labels import read_frauds
from stream_scorer.batch.run import run_batch
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Settings
from stream_scorer.tables.files import find_files
from tests.support.batch.batch_cases import write
from tests.support.batch.terminal_cases import DAY, order_of, settings, table

__all__ = ["settings", "table"]

LABELS = """
[labels]
where = "state == final"
transaction_id = "payment.id"
customer_id = "payment.card"
event_time = {path = "at", unit = "iso8601"}
is_fraud = {path = "verdict", table = {chargeback = true, genuine = false}}
label_time = {path = "booked", unit = "ms", optional = true}
"""
ENDINGS = ("parquet", "csv", "jsonl", "avro")
AVRO: Any = {
    "type": "record", "name": "Dispute", "fields": [
        {"name": "state", "type": "string"},
        {"name": "payment", "type": ["null", {"type": "record", "name": "Payment", "fields": [
            {"name": "id", "type": "string"}, {"name": "card", "type": "string"}]}]},
        {"name": "at", "type": ["null", "string"]},
        {"name": "verdict", "type": ["null", "string"]},
        {"name": "booked", "type": ["null", "long"]},
    ],
}  # fmt: skip


def disputes(table: pa.Table, known: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Return transactions' labels as a user's records, and some records that are not labels."""
    found: list[dict[str, Any]] = []
    names = ("transaction_id", "customer_id", "event_time", "is_fraud")
    columns = [table[name] for name in names[:2]]
    columns += [table["event_time"].cast(pa.int64()), table["is_fraud"]]
    rows = zip(*(column.to_pylist() for column in columns), known.tolist(), strict=True)
    for number, (transaction, card, time, fraud, booked) in enumerate(rows):
        if number % 9 == 0:
            found.append(dict.fromkeys(("payment", "at", "verdict", "booked")) | {"state": "open"})
        found.append({
            "state": "final", "payment": {"id": transaction, "card": card},
            "at": datetime.fromtimestamp(time / 1_000, UTC).isoformat(timespec="milliseconds"),
            "verdict": "chargeback" if fraud else "genuine", "booked": booked,
        })  # fmt: skip
    return found


def write_disputes(rows: list[dict[str, Any]], path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        flat = [
            {"payment.id": (row["payment"] or {}).get("id"),
             "payment.card": (row["payment"] or {}).get("card"),
             **{name: value for name, value in row.items() if name != "payment"}}
            for row in rows
        ]  # fmt: skip
        pa_csv.write_csv(pa.Table.from_pylist(flat), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open("wb") as file:
            fastavro.writer(file, fastavro.parse_schema(AVRO), rows)
    return path


def plan_folder(folder: Path, events: str) -> Path:
    folder.mkdir()
    (folder / "plan.toml").write_text("[currencies]\nEUR = 2\n")
    (folder / "events.toml").write_text(events)
    return folder


def test_a_users_labels_give_the_same_decisions(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    plan = Plan()
    hold = plan.terminal_delay_ms - plan.terminal_slack_ms
    time = table["event_time"].cast(pa.int64()).to_numpy()
    known = time + np.where(np.arange(len(time)) % 4 == 0, hold + 1, DAY)
    ours = table.append_column("label_time", pa.array(known))
    pq.write_table(ours, tmp_path / "labels.parquet")
    native = run_batch(
        settings, order_of(source, tmp_path / "native.parquet", tmp_path / "labels.parquet")
    )
    assert native.labels is not None
    assert 0 < native.labels["in_time"] < native.labels["read"]
    folder = plan_folder(tmp_path / "plan", LABELS)
    for ending in ENDINGS:
        labels = write_disputes(disputes(table, known), tmp_path / f"disputes.{ending}")
        out = tmp_path / f"{ending}.parquet"
        report = run_batch(settings, order_of(source, out, labels, plan=folder))
        assert report.labels == native.labels, ending
        assert out.read_bytes() == (tmp_path / "native.parquet").read_bytes(), ending
    untimed = "".join(line for line in LABELS.splitlines(True) if "event_time" not in line)
    for number, text in enumerate((untimed, untimed.replace('customer_id = "payment.card"\n', ""))):
        plan_of = plan_folder(tmp_path / f"untimed{number}", text.replace(", optional = true", ""))
        out = tmp_path / f"untimed{number}.parquet"
        labels = tmp_path / "disputes.parquet"
        report = run_batch(settings, order_of(source, out, labels, plan=plan_of))
        assert report.labels is not None
        assert report.labels["frauds_in_input"] == native.labels["frauds_in_input"]
        assert report.labels["in_time"] == report.labels["read"] == native.labels["read"]
        assert out.read_bytes() == (tmp_path / "native.parquet").read_bytes()


HEAD = "state,payment.id,payment.card,at,verdict\n"
REFUSED = [
    ("csv", "state,payment.id,payment.card,at\nfinal,1,c,2026-01-01T00:00Z\n",
     "labels.is_fraud: verdict: "),
    ("csv", HEAD + "final,1,c,soon,genuine\n",
     "row 1: at: not a time in ISO 8601"),
    ("csv", HEAD + "open,1,c,soon,genuine\n", "holds no label"),
    ("csv", HEAD + "final,1,c,2026-01-01T00:00Z,genuine\nfinal,1,c,2026-01-01T00:00Z,maybe\n",
     "row 2: verdict: the table for is_fraud does not have this value"),
    ("jsonl", '{"state": "final"}\n', "row 1: payment.id: null, and transaction_id takes none"),
    ("jsonl", '{"state": "final", "state": "open"}\n', "row 1: "),
    ("jsonl", '{"state": "final", "payment": {"id": "' + "a" * 1_025 + '"}}\n', "row 1: "),
    ("parquet", "PAR1", "labels.parquet: "),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "text", "why"), REFUSED)
def test_labels_that_do_not_fit_are_refused_by_row_and_path(
    ending: str, text: str, why: str, tmp_path: Path
) -> None:
    plan = plan_from({"events": parse_events(LABELS)})
    (tmp_path / f"labels.{ending}").write_text(text)
    (file,) = find_files(str(tmp_path / f"labels.{ending}"))
    with pytest.raises(SettingsError, match=why.replace(".", r"\.")) as caught:
        read_frauds(file, plan)
    assert "\n" not in str(caught.value)
