"""Transactions of labels are found by id; several ones of an id are ambiguous."""

import numpy as np
import pyarrow as pa

from stream_scorer.labels.lookup import TransactionLookup

SCHEMA = ("transaction_id", "customer_id", "terminal_id")


def decisions(*rows: tuple[str, str, str, int]) -> pa.RecordBatch:
    columns = [pa.array([row[at] for row in rows], pa.string()) for at in range(3)]
    times = pa.array([row[3] for row in rows], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    return pa.RecordBatch.from_arrays([*columns, times], names=[*SCHEMA, "event_time"])


def test_labels_get_what_the_decisions_say() -> None:
    lookup = TransactionLookup(pa.array(["b", "x", "a", "b"]))
    lookup.add(decisions(("a", "c1", "m1", 10), ("q", "c9", "m9", 5)))
    lookup.add(decisions(("b", "c2", "m2", 20)))
    found = lookup.found()
    assert found.found.tolist() == [True, False, True, True]
    assert not found.ambiguous.any()
    assert found.table.to_pydict() == {
        "customer_id": ["c2", None, "c1", "c2"],
        "terminal_id": ["m2", None, "m1", "m2"],
        "event_time": [20, None, 10, 20],
    }


def test_an_id_of_two_customers_or_times_is_ambiguous() -> None:
    lookup = TransactionLookup(pa.array(["a", "b", "c", "d"]))
    lookup.add(decisions(("a", "c1", "m", 1), ("a", "c2", "m", 1), ("b", "c1", "m", 1)))
    lookup.add(decisions(("b", "c1", "m", 2), ("c", "c1", "m", 3), ("d", "c1", "m", 1)))
    # The same transaction again: sent twice.
    lookup.add(decisions(("c", "c1", "m", 3)))
    assert lookup.found().ambiguous.tolist() == [True, True, False, False]


def test_order_and_batches_of_decisions_do_not_matter() -> None:
    numbers = np.random.default_rng(3)
    rows = [(f"t{at}", f"c{at % 5}", "m", at) for at in numbers.integers(0, 400, 1_000).tolist()]
    ids = pa.array([f"t{at}" for at in numbers.integers(0, 500, 300).tolist()])
    whole = TransactionLookup(ids)
    whole.add(decisions(*rows))
    parts = TransactionLookup(ids)
    for first in range(0, len(rows), 7):
        parts.add(decisions(*rows[first : first + 7]))
    known = {row[0] for row in rows}
    assert whole.found().table.equals(parts.found().table)
    assert whole.found().found.tolist() == [each in known for each in ids.to_pylist()]
    assert not parts.found().ambiguous.any()
