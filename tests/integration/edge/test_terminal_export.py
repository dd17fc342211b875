"""The history of terminals that a device gets is what a scorer sees at the topic's watermark."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.edge.export.terminals import export_terminals
from stream_scorer.edge.files.seed import TerminalRows
from stream_scorer.errors import EdgeError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY, Kafka, Settings
from tests.support.terminals.stage import PLAN, month, profiled, rows_of, send

pytestmark = pytest.mark.kafka


def test_rows_of_terminals_are_exported_up_to_the_watermark(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    settings, files = Settings(kafka=kafka), FileRegistry(SCHEMAS_DIRECTORY)
    features = load_bundle(MODELS_DIRECTORY / "fraud" / "1.1.1").model(PLAN).features
    delayed = features.engine.delayed
    with pytest.raises(EdgeError, match="has no watermark"):
        export_terminals(settings, files, PLAN, delayed)
    records = month()
    send(kafka, records)
    profiled(kafka, len(records))
    rows, watermark = rows_of(kafka)
    found = TerminalRows.unpacked(export_terminals(settings, files, PLAN, delayed).packed())
    assert found.watermark == watermark
    assert len(found.time) == sum(at > found.edge for _, at, _ in rows)
    # A device at the watermark sees what a table of all rows shows.
    table = TerminalRows.none().table()
    names, times, frauds = zip(*rows, strict=True)
    table.add(pa.array(names), np.array(times), np.array(frauds))
    table.watermark = watermark
    asked = pa.array(sorted(set(names)))
    when = np.full(len(asked), watermark + delayed.delay_ms)
    seen = np.zeros((2, len(asked), features.engine.width))
    incomplete = [
        each.observe(delayed, asked, when, out)
        for each, out in zip((table, found.table()), seen, strict=True)
    ]
    assert seen[0].tobytes() == seen[1].tobytes()
    assert seen[0].any()
    assert not np.any(incomplete)
