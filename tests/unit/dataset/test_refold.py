"""Features from the input equal those of training, with no more history than they need."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.dataset import refold as refolding
from stream_scorer.dataset.refold import fold_input, refold
from stream_scorer.errors import SettingsError
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.settings import Registry
from stream_scorer.training.fold import fold
from tests.support.dataset.made_datasets import REGISTRY, encoder, known_of, raw

DAY_MS = 86_400_000
FEATURES = compile_features(
    [
        {"name": "N", "kind": "count", "window": "1d"},
        {"name": "RISK", "kind": "risk", "key": "terminal_id", "delay": "7d", "window": "7d"},
    ],
    Plan(),
)


@pytest.fixture(scope="module")
def values(labelled: pa.Table) -> BytesColumn:
    encode = TransactionEncoder(Registry())
    return BytesColumn.of(
        value for batch in labelled.to_batches(max_chunksize=5_000) for value in encode(batch)
    )


def partition_of(table: pa.Table) -> np.ndarray:
    """Return int64[n]: the partition of each row, of two, by its customer."""
    return table["customer_id"].to_numpy().astype(np.int64) % 2


def records(values: BytesColumn, table: pa.Table) -> Iterator[RawRecords]:
    """Yield the input, one partition after the other."""
    time = table["event_time"].cast(pa.int64()).to_numpy()
    for partition in range(2):
        rows = np.flatnonzero(partition_of(table) == partition)
        yield RawRecords(
            values.take(rows), BytesColumn.nulls(len(rows)), None,
            np.full(len(rows), partition, np.int32), np.arange(len(rows)), time[rows],
        )  # fmt: skip


def with_garbage(records: Iterator[RawRecords]) -> Iterator[RawRecords]:
    """Yield the same records, each part with one more that is not a transaction."""
    for each in records:
        for first in range(0, len(each), 5_000):
            part = each.take(np.arange(first, min(first + 5_000, len(each))))
            values = BytesColumn.of([*part.values.to_list(), b"garbage"])
            count = len(values)
            yield RawRecords(
                values, BytesColumn.nulls(count), None, np.full(count, part.partition[0]),
                np.append(part.offset, 2**40), np.append(part.timestamp, part.timestamp[-1]),
            )  # fmt: skip


def test_features_of_a_range_are_those_of_all_rows(
    labelled: pa.Table, values: BytesColumn, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = labelled["event_time"].cast(pa.int64()).to_numpy()
    known = pa.Table.from_arrays(
        [labelled[name] for name in ("transaction_id", "customer_id", "terminal_id")],
        names=["transaction_id", "customer_id", "terminal_id"],
    )
    columns = {name: known[name].combine_chunks() for name in known.column_names}
    columns |= {"event_time": time, "label_time": time + DAY_MS}
    columns["is_fraud"] = labelled["is_fraud"].to_numpy()
    said = raw(encoder("label.v1", "labels").encode(columns, len(time)))
    begin = int(time[-1]) - 5 * DAY_MS
    found = refold(
        records(values, labelled), EventDecoders(REGISTRY), FEATURES, Plan(), known_of(said),
        (begin, int(time[-1]) + 1),
    )  # fmt: skip
    whole = fold(labelled, FEATURES, Plan(), labelled["is_fraud"].to_numpy())
    assert len(whole.rows) == len(labelled)
    partition = partition_of(labelled)
    offset = np.where(partition, np.cumsum(partition), np.cumsum(1 - partition)) - 1
    features, there = found.of(partition, offset)
    inside = time >= begin
    assert there[inside].all()
    # The history alone is read, not all input.
    assert not there.all()
    assert features[inside].tobytes() == whole.features[inside].tobytes()
    assert features[inside].any(axis=0).all()
    folded = fold_input(
        with_garbage(records(values, labelled)), EventDecoders(REGISTRY), FEATURES, Plan(),
        known_of(said), (begin, int(time[-1]) + 1), ["channel"],
    )  # fmt: skip
    assert folded is not None
    # A record that cannot be read counts where its neighbours are of the range.
    assert set(folded.rejected) == {"FRAMING"}
    assert folded.count == len(folded.rows) + folded.rejected["FRAMING"]
    assert "channel" in folded.table.column_names
    assert folded.features[np.argsort(folded.places)].tobytes() == (
        found.features[found.row].tobytes()
    )
    unknown, there = found.of(np.array([0, 7]), np.array([10**9, 0]))
    assert not there.any()
    assert not unknown.any()
    monkeypatch.setattr(refolding, "ROWS_MOST", 100)
    with pytest.raises(SettingsError, match="more than 100 transactions to fold"):
        refold(
            records(values, labelled), EventDecoders(REGISTRY), FEATURES, Plan(), known_of(said),
            (begin, int(time[-1]) + 1),
        )  # fmt: skip
