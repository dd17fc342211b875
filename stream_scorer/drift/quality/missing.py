"""Rules ``missing`` and ``schema_change`` of a field: values that are not there any more.

A field is missing if the share of events without a value is 5 percentage points, and four standard
errors, above that of the reference. A field that no event has is a change of the schema.

Fields whose values need the history of a customer are not judged, because they are missing as long
as the history is: their raw fields are. Of a raw field with a fault, the features are consequences.
"""

from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import ALL
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.pooled_window import Bool, Float64, Int64, PooledWindow
from stream_scorer.drift.quality.reference_view import ReferenceView, dimension

_LEAST_MORE: Final = 0.05
_Z: Final = 4.0
_USUALLY_THERE: Final = 0.5
"""A field that more events of the reference lack than this was no part of the schema."""


def excess_limit(
    rows: Int64, usual_count: Int64, usual_rows: Int64, least: float
) -> tuple[Float64, Float64]:
    """Return the usual share and the share from which on a window is at fault.

    Args:
        rows: Events of the window.
        usual_count: Events of the reference that have the property.
        usual_rows: All of its events.
        least: Minimum difference that matters, as a share.

    Returns:
        float64 of the shape of the arguments together: usual share, limit.
    """
    usual = usual_count / np.maximum(usual_rows, 1)
    smooth = (usual_count + 1) / (usual_rows + 2)
    variance = smooth * (1 - smooth)
    error = np.sqrt(variance / np.maximum(rows, 1) + variance / (usual_rows + 2))
    return usual, usual + np.maximum(least, _Z * error)


def missing(window: PooledWindow, expected: ReferenceView) -> list[QualityFault]:
    """Return a fault for each field whose values are missing, of all events or of a segment."""
    rows = np.array([expected.row(name) for name in window.segments])
    raw = expected.raw
    share = window.missing[:, raw] / np.maximum(window.rows, 1)[:, None]
    usual, limit = excess_limit(
        window.rows[:, None], expected.missing[rows][:, raw], expected.totals[rows][:, raw],
        _LEAST_MORE,
    )  # fmt: skip
    bad = (share >= limit) & window.ready[:, None]
    faults = [
        _fault(window, expected, (at, int(raw[column])), (share, usual, limit), column)
        for column in np.flatnonzero(bad.any(0)).tolist()
        for at in _named(window, bad[:, column], share[:, column])
    ]
    names = {each.field for each in faults}
    derived = {
        each.field.name: set(each.depends_on) - {each.field.name}
        for each in expected.reference.fields
    }
    return [each for each in faults if not derived[each.field] & names]


def _named(window: PooledWindow, bad: Bool, share: Float64) -> list[int]:
    """Return all events alone, if they are at fault; otherwise segments of one dimension.

    It is the dimension with the largest share: in the others, the same events are diluted.
    """
    if bad[0]:
        return [0]
    worst = dimension(window.segments[int(np.argmax(np.where(bad, share, -1.0)))])
    return [at for at in np.flatnonzero(bad).tolist() if dimension(window.segments[at]) == worst]


def _fault(
    window: PooledWindow,
    expected: ReferenceView,
    place: tuple[int, int],
    shares: tuple[Float64, Float64, Float64],
    column: int,
) -> QualityFault:
    at, number = place
    share, usual, limit = (float(each[at, column]) for each in shares)
    gone = window.missing[at, number] == window.rows[at] and usual < _USUALLY_THERE
    return QualityFault(
        name="schema_change" if gone else "missing",
        field=expected.reference.fields[number].field.name,
        segment=window.segments[at] if at else ALL,
        window_start=window.start, window_end=window.end,
        value=share, usual=usual, evidence=share / limit, open=True,
    )  # fmt: skip
