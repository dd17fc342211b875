"""The demo's model: the shipped one, with a reference of drift detection.

The reference is made of eight weeks of simulated transactions of the same customers. Their times
are before the first transaction that the demo sends, so the demo's own transactions are new to it.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.models.commands.reference import BundleReferenceJob, add_reference
from stream_scorer.models.stores.deployment import plan_files
from stream_scorer.models.stores.new_plan import place
from stream_scorer.ports import Int64
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from stream_scorer.training.days import Days

_SHIPPED: Final = "fraud:1.1.0"
_VERSION: Final = "1.1.1"
_DAY_MS: Final = 86_400_000
_SENT_DAYS: Final = 28
"""Whole weeks that cover what the demo sends; the reference is made of later days, moved back."""
_DAYS: Final = 56
_COVERED_FROM: Final = 37
"""Day from which the longest history, 30 days at a terminal after 7 of delay, is complete."""
_HELD_DAYS: Final = 7


def write_referenced_model(store: Path) -> str:
    """Write the shipped model with a reference into a store.

    Args:
        store: A folder; created if it does not exist.

    Returns:
        NAME:VERSION of the bundle.

    Raises:
        ModelError: The store cannot be written.
    """
    name = _SHIPPED.partition(":")[0]
    store.mkdir(parents=True, exist_ok=True)
    path = store / "history.parquet"
    rows = history()
    write_table(rows, path)
    first = date(1970, 1, 1) + timedelta(days=int(_times(rows)[0]) // _DAY_MS)
    held = first + timedelta(days=_DAYS - _HELD_DAYS)
    job = BundleReferenceJob(
        model=_SHIPPED, data=path, version=_VERSION, out=store,
        train=Days(first + timedelta(days=_COVERED_FROM), held - timedelta(days=1)),
        held=Days(held, first + timedelta(days=_DAYS - 1)),
    )  # fmt: skip
    add_reference(Settings(models=Models(directory=MODELS_DIRECTORY)), job)
    place(plan_files(MODELS_DIRECTORY / name / "plan.toml"), store / name / "plan.toml")
    path.unlink()
    return f"{name}:{_VERSION}"


def history() -> pa.Table:
    """Return the transactions of the eight weeks before the demo's first day, by time.

    They are those that the simulator makes after the demo's days, moved back by whole weeks.
    """
    rows = simulate(_SENT_DAYS + _DAYS)
    times = _times(rows)
    begin = int(times[0]) // _DAY_MS * _DAY_MS
    later = times >= begin + _SENT_DAYS * _DAY_MS
    moved = times[later] - (_SENT_DAYS + _DAYS) * _DAY_MS
    rows = rows.filter(pa.array(later))
    at = rows.schema.get_field_index("event_time")
    return rows.set_column(
        at, rows.schema.field(at), pa.array(moved).cast(rows.schema.field(at).type)
    )


def _times(rows: pa.Table) -> Int64:
    return rows["event_time"].cast(pa.int64()).to_numpy().astype(np.int64)
