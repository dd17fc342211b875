"""Rule ``new_value``: a currency, country or another text that the reference does not have."""

from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import ALL, TEXT
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.missing import excess_limit
from stream_scorer.drift.quality.pooled_window import PooledWindow
from stream_scorer.drift.quality.reference_view import ReferenceView

_LEAST_MORE: Final = 0.01


def new_value(window: PooledWindow, expected: ReferenceView) -> list[QualityFault]:
    """Return a fault for each text with 1 % of unseen values, and four standard errors, or more."""
    if not window.ready[0]:
        return []
    fields = expected.reference.fields
    texts = [at for at in expected.raw.tolist() if fields[at].field.kind == TEXT]
    share = window.other[0, texts] / max(int(window.rows[0]), 1)
    usual, limit = excess_limit(
        window.rows[:1], expected.other[0, texts], expected.totals[0, texts], _LEAST_MORE
    )
    return [
        QualityFault(
            name="new_value", field=fields[texts[at]].field.name, segment=ALL,
            window_start=window.start, window_end=window.end, value=float(share[at]),
            usual=float(usual[at]), evidence=float(share[at] / limit[at]), open=True,
        )
        for at in np.flatnonzero(share >= limit).tolist()
    ]  # fmt: skip
