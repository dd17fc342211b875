"""Rows of a file that repeat an earlier one are not sent."""

import pyarrow as pa

from stream_scorer.labels.read import SCHEMA
from stream_scorer.labels.run import _repeated


def test_a_label_is_repeated_by_its_source_and_id() -> None:
    named = [("bank", "1"), ("bank", "2"), ("shop", "1"), ("bank", "1"), ("", "1"), ("bank", "2")]
    rows = [
        {"transaction_id": f"t{at}", "state": 1, "source": source, "label_id": label_id}
        for at, (source, label_id) in enumerate(named)
    ]
    # In two pieces, as a file of many rows is read.
    table = pa.concat_tables([pa.Table.from_pylist(rows[at : at + 3], SCHEMA) for at in (0, 3)])
    assert _repeated(table).tolist() == [False, False, False, True, False, True]
    assert _repeated(SCHEMA.empty_table()).tolist() == []
