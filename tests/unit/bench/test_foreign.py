"""The foreign topics of ``bench/events.py`` have the transactions that the bench expects."""

from pathlib import Path

import numpy as np
import pytest

from bench.events import _ours
from bench.harness.foreign import SETS, ForeignSet, add_schemas
from bench.harness.traffic import registry_with_writers
from stream_scorer.codec.reading.mapped import open_decoder, skipped_rows
from stream_scorer.models.stores.deployment import load_plan
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.simulator import simulate

_OF_THE_MODEL = ("transaction_id", "customer_id", "channel", "country", "device_id")


@pytest.mark.parametrize("each", SETS, ids=lambda each: each.name)
def test_each_record_is_the_transaction_in_our_schema(each: ForeignSet, tmp_path: Path) -> None:
    rows = simulate(2, 40, 20)
    registry = registry_with_writers(tmp_path / "schemas")
    add_schemas(registry)
    plan = load_plan(each.plan(tmp_path))
    ((keys, values),) = each.records(rows)
    at = np.arange(len(values))
    raw = RawRecords(
        BytesColumn.of(values), BytesColumn.of(keys), None, np.zeros(len(at), np.int32), at, at
    )
    events, kept, rejections = open_decoder(FileRegistry(registry), plan).decode(raw)
    ours = _ours(each, rows)
    assert len(rejections.rows) == 0
    assert len(events) == len(ours)
    assert len(skipped_rows(len(values), kept, rejections)) == len(values) - len(ours)
    for name in _OF_THE_MODEL:
        assert events.records.column(name).to_pylist() == ours[name].to_pylist()
    assert events.amounts.tolist() == ours["amount_minor"].to_pylist()
    times = ours["event_time"].cast("int64").to_pylist()
    assert events.int64("event_time").tolist() == times
    assert [keys[row].decode() for row in kept.tolist()] == ours["customer_id"].to_pylist()
