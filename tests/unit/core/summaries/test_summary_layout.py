"""The cells of watched fields, and the names of streams."""

import numpy as np

from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    OUTCOME,
    TEXT,
    ReferenceBins,
    StreamKey,
    WatchedField,
)


def field(name: str, kind: int, *values: str) -> WatchedField:
    return WatchedField(name, kind, f"column:{name}", np.empty(0), 0.0, 1.0, values)


def test_the_cells_of_fields_follow_each_other() -> None:
    fields = (
        field("score", NUMBER), field("outcome", OUTCOME), field("channel", TEXT, "web", "pos"),
    )  # fmt: skip
    assert ReferenceBins("", fields).first_cell.tolist() == [0, 12, 15, 19]
    assert ReferenceBins("", ()).first_cell.tolist() == [0]


def test_a_stream_is_named_by_field_measure_and_segment() -> None:
    key = StreamKey("outcome", "share:BLOCK", "channel=web")
    assert key.text == "outcome/share:BLOCK@channel=web"
