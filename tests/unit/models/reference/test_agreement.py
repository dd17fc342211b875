"""The reference and the scorer count the same rows into the same cells and sums."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.batch import DecisionBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.watched_columns import columns_of
from stream_scorer.models.reference.build import build_reference
from stream_scorer.models.reference.rows import ReferenceRows
from stream_scorer.models.reference.stream_values import layout_of
from stream_scorer.models.reference.windows import WindowCounter
from tests.support.models.reference_rows import SPECS, job_of, rows_of

EXTRAS = {"gift": "boolean", "items": "long", "rate": "double", "shop": "string"}
SEGMENTS = {"channel": ["web", "atm"], "amount": [20.0, 100.0], "gift": [True]}
PLAN = Plan(extras=EXTRAS, segments=SEGMENTS)


@pytest.fixture(scope="module")
def rows() -> ReferenceRows:
    """Return rows with extra fields, nulls, NaN, values outside of the reference and new texts."""
    random = np.random.default_rng(9)
    plain = rows_of(8)
    count = len(plain)

    def some(values: list[object]) -> pa.Array:
        return pa.array([values[at] for at in random.integers(0, len(values), count)])

    records = plain.events.records
    for name, column in (
        ("gift", some([True, False, None])), ("items", some([0, 1, 2, 50, None])),
        ("rate", some([0.5, 1.5, float("nan"), None, 9.0])), ("shop", some(["a", "b", "ü", None])),
    ):  # fmt: skip
        records = records.append_column(name, column)
    late = ~plain.training
    channel = np.array(records.column("channel").to_pylist(), object)
    channel[late & (random.random(count) < 0.1)] = "new"
    records = records.set_column(3, "channel", pa.array(channel.tolist(), pa.string()))
    features = plain.features.copy()
    features[late & (random.random(count) < 0.1), 0] = 1e9
    features[random.random(count) < 0.1, 1] = np.nan
    score = np.where(random.random(count) < 0.05, np.nan, plain.score)
    events = replace(plain.events, records=records)
    return replace(
        plain, events=events, features=np.ascontiguousarray(features), score=score,
        members=segments_of(PLAN).members(events),
    )  # fmt: skip


def test_cells_and_sums_are_those_of_the_scorer(rows: ReferenceRows) -> None:
    segments = segments_of(PLAN)
    job = replace(job_of(segments.names), plan=PLAN)
    reference = build_reference(rows, job).reference
    bins = reference.bins
    assert {"gift", "items", "rate", "shop", "channel"} <= {field.name for field in bins.fields}
    decisions = DecisionBatch(
        events=rows.events, score=rows.score, outcome=rows.outcome,
        flags=np.zeros(len(rows), np.uint8), features=rows.features, reasons={}, model="fraud",
        version="1.0.0",
    )  # fmt: skip
    counts, score, amount = columns_of(decisions, bins, segments).counted()
    every = [np.ones(len(rows), np.bool_)] * len(bins.fields)
    mine = np.concatenate(
        WindowCounter(rows, bins.fields, len(segments.names) + 1).totals(every), axis=1
    )
    assert (mine == counts).all()
    first = bins.first_cell
    for number, field in enumerate(bins.fields):
        # Every event is in exactly one cell of each field.
        assert counts[0, first[number] : first[number + 1]].sum() == len(rows), field.name
    layout = layout_of(reference, segments.names)
    table = WindowCounter(rows, bins.fields, len(segments.names) + 1).by_window(
        layout, every, 86_400_000, lambda _: None
    )
    values, counted = layout.values(counts, score, amount)
    assert (table.rows.sum(axis=0) == counted).all()
    weighed = np.nansum(table.values * table.rows, axis=0) / counted
    assert weighed == pytest.approx(values, abs=1e-9)


def test_a_reference_is_of_the_features_that_it_names() -> None:
    rows = rows_of(8)
    bins = build_reference(rows, job_of()).reference.bins
    named = {field.source: field.name for field in bins.fields}
    for number, spec in enumerate(SPECS):
        assert named[f"feature:{number}"] == spec["name"]
