"""Ids that an attacker constructs to have the same value of the product's public hash."""

from typing import Any, Final

import numpy as np

from bench.hostile_cases.case import Place, cases, entry
from tests.support.core.colliding import alike

_COUNT: Final = 2_048
_SPECS: Final = [{"name": "n", "kind": "count", "window": "1m"}]


def _spread(what: str, count: int, owner: Any) -> str:
    """Report whether an owner's hash table is evenly filled, by its longest run of used slots."""
    table = owner._store.table  # noqa: SLF001 only how long a search takes shows it outside
    free = np.flatnonzero(np.tile(np.asarray(table), 2) < 0)
    run = int(np.diff(free).max()) - 1
    return f"{'spread' if run < _COUNT // 8 else 'in one run'}: {count} {what}, {run} places"


def _rings() -> Any:
    made = entry("stream_scorer.core.rings.rings")
    plan = entry("stream_scorer.core.events.plan", "Plan")()
    features = entry("stream_scorer.core.features.compile", "compile_features")(_SPECS, plan)
    retention = made.Retention(lateness_ms=0, horizon_ms=60_000, cap=6)
    return made.CustomerRings(retention, features.engine.program)


def _filled() -> Any:
    import pyarrow as pa  # noqa: PLC0415 as the product

    rings = _rings()
    ids = pa.array(alike(_COUNT))
    hashes = entry("stream_scorer.core.events.strings", "hashes_of")(ids)
    n = len(ids)
    columns = entry("stream_scorer.core.rings.rings", "RingColumns")(
        ids, hashes, hashes, np.ones(n, np.int64), np.ones(n, np.int64), np.empty((0, n), np.int64)
    )
    none = np.zeros(n, np.bool_), np.zeros(n, np.uint8)
    rings.release(rings.fold(np.arange(n), columns, *none, None))
    return rings


def _customers(_: Place) -> str:
    rings = _filled()
    return _spread("customers", len(rings), rings)


def _restored(_: Place) -> str:
    before, after = _filled(), _rings()
    for bucket in range(1_024):
        if content := before.dump(bucket):
            after.load(content)
    return _spread("customers", len(after), after)


def _terminals(_: Place) -> str:
    table = entry("stream_scorer.core.terminals.history", "TerminalTable")()
    # Constructed to end alike: such a hash table would look for all of them in one place.
    hashes = np.arange(1, _COUNT + 1, dtype=np.uint64) << np.uint64(40)
    table.add_hashed(hashes, np.full(_COUNT, 1_000), np.zeros(_COUNT, np.uint8))
    return _spread("terminals", _COUNT, table)


CASES: Final = cases(
    "id", 2,
    ("customers with one hash", "collide", "spread: 2048 customers", _customers),
    ("a bucket of customers with one hash", "collide", "spread: 2048 customers", _restored),
    ("terminals whose hashes end alike", "collide", "spread: 2048 terminals", _terminals),
)  # fmt: skip
