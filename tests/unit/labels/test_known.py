"""A label is known by its id, or by its contents if its record has no id."""

from typing import Any

import pyarrow as pa

from stream_scorer.labels.known import KnownLabels
from stream_scorer.labels.read import SCHEMA

LABEL: dict[str, Any] = {
    "transaction_id": "a", "state": 1, "label_time": 7, "source": "bank", "label_id": "i1",
    "reason_code": "", "retracts": "", "drawn": None,
}  # fmt: skip
RECORD: dict[str, Any] = {
    "transaction_id": "a", "customer_id": "c", "is_fraud": True, "label_time": 7, "source": "bank",
    "label_id": "", "state": None, "reason_code": "", "retracts": "",
}  # fmt: skip
KINDS = {"is_fraud": pa.bool_(), "label_time": pa.int64()}


def known(*changes: dict[str, Any]) -> KnownLabels:
    found = KnownLabels()
    rows = [{**RECORD, **change} for change in changes]
    columns = {
        name: pa.array([row[name] for row in rows], KINDS.get(name, pa.string())) for name in RECORD
    }
    found.add(pa.RecordBatch.from_pydict(columns))
    return found


def has(labels: KnownLabels, **changes: Any) -> bool:
    row = {**LABEL, **changes}
    table = pa.Table.from_pylist([row], SCHEMA)
    return bool(labels.has(table, pa.chunked_array([["c"]]))[0])


def test_the_same_id_of_the_same_source_is_known() -> None:
    labels = known({"label_id": "i1", "transaction_id": "z"})
    assert has(labels)
    assert not has(labels, label_id="i2")
    assert not has(labels, source="shop")


def test_a_record_without_an_id_is_known_by_its_contents() -> None:
    for record in ({}, {"state": "FRAUD"}):
        labels = known(record)
        assert has(labels)
        for change in (
            {"transaction_id": "b"}, {"state": 0}, {"label_time": 8}, {"label_time": None},
            {"source": "shop"}, {"reason_code": "r"}, {"retracts": "i0"},
        ):  # fmt: skip
            assert not has(labels, **change), change
    assert has(known({"label_time": None, "source": None}), label_time=None, source="")


def test_nothing_is_known_of_an_empty_topic() -> None:
    assert not has(KnownLabels())
