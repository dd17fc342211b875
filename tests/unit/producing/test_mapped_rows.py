"""What ``produce`` sends of a stranger's columns: records of our own schema."""

from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.producing.transactions import TransactionEncoder, rows_to_send
from stream_scorer.settings import Registry
from tests.support.tables.foreign_files import (
    EVENTS,
    OURS,
    drawn,
    foreign_rows,
    plan_with,
    write_foreign,
)

ENCODER = TransactionEncoder(Registry())
PLAIN = EVENTS.partition("[extra]")[0]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "avro"])
def test_records_are_those_of_our_own_columns(tmp_path: Path, ending: str) -> None:
    ours = drawn(50, seed=11)
    path = write_foreign(foreign_rows(ours), tmp_path / f"in.{ending}")
    sent = [ENCODER(rows) for rows in rows_to_send(path, ENCODER, plan_with(PLAIN))]
    expected = ours.select(ENCODER.schema.names).cast(ENCODER.schema)
    assert [record for records in sent for record in records] == ENCODER(expected)


def test_a_value_that_does_not_fit_is_one_error(tmp_path: Path) -> None:
    rows = [row for row in foreign_rows(drawn(9)) if row["op"] != "d"]
    rows[7]["after"]["iso"] = None
    path = write_foreign(rows, tmp_path / "in.jsonl")
    with pytest.raises(SettingsError) as refused:
        list(rows_to_send(path, ENCODER, plan_with(PLAIN)))
    assert refused.value.what == f"{path}: row 8: after.iso: null, and currency takes none"


def test_what_our_schema_cannot_have_is_refused_by_name(tmp_path: Path) -> None:
    path = write_foreign(foreign_rows(drawn(3)), tmp_path / "in.jsonl")
    with pytest.raises(SettingsError, match="extra field basket"):
        rows_to_send(path, ENCODER, plan_with())
    without = PLAIN.replace('terminal_id = "after.till"\n', "")
    with pytest.raises(SettingsError, match="no terminal_id"):
        rows_to_send(path, ENCODER, plan_with(without))
    assert len(OURS) == len(ENCODER.schema) + len(plan_with().extras)
