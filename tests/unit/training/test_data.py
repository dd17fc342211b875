"""Training reads all rows of a file in order, and reports what it does not use."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.simulator.files import write_table
from stream_scorer.training.card import report
from stream_scorer.training.data import read_labelled, take
from stream_scorer.training.features import read_features
from stream_scorer.training.fold import fold
from stream_scorer.training.run import train
from tests.support.training.train_cases import fitted, order


def test_text_files_hold_what_parquet_holds(labelled: pa.Table, tmp_path: Path) -> None:
    few = labelled.slice(0, 500)
    none = pa.nulls(500, pa.timestamp("ms", "UTC"))
    expected = few.drop_columns("fraud_scenario").append_column("label_time", none)
    for ending in ("parquet", "csv", "jsonl"):
        path = tmp_path / f"few.{ending}"
        write_table(few, path)
        assert read_labelled(path, Plan()).table.equals(expected), ending


def mixed_up(labelled: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]], path: Path) -> Path:
    write_table(labelled.take(pa.array(rows)), path)
    return path


def test_data_out_of_order_are_refused_or_sorted(
    data: Path, labelled: pa.Table, declared: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"features": declared, "resamples": 0}
    _, sound = train(order(data, tmp_path, **changes))
    backwards = mixed_up(labelled, np.arange(len(labelled))[::-1], tmp_path / "backwards.parquet")
    shuffled = mixed_up(
        labelled, np.random.default_rng(0).permutation(len(labelled)), tmp_path / "shuffled.csv"
    )
    for version, path in (("1.0.1", backwards), ("1.0.2", shuffled)):
        with pytest.raises(SettingsError, match=r"row \d+: its event_time") as caught:
            train(order(path, tmp_path, version, **changes))
        assert str(caught.value).endswith("sort the data, or give --sort")
        _, told = train(order(path, tmp_path, version, sort=True, **changes))
        assert told.content_hash == sound.content_hash
        assert told.training.test == sound.training.test


def test_sorted_rows_of_one_time_keep_their_order(labelled: pa.Table, tmp_path: Path) -> None:
    _, features = read_features(None, Plan())
    few = labelled.slice(0, 3_000)
    at = few.schema.get_field_index("event_time")
    begin = int(few["event_time"].cast(pa.int64())[0].as_py())
    later = 10**8 * (np.arange(3_000) % 2 == 0)
    path = tmp_path / "tied.parquet"
    tied = few.set_column(at, few.schema.field(at), pa.array(begin + later, few.schema.types[at]))
    write_table(tied, path)
    found = take(path, features, Plan(), sort=True, most_rejected=0)
    ids = few["transaction_id"].to_pylist()
    assert found.table["transaction_id"].to_pylist() == [*ids[1::2], *ids[::2]]


def test_lateness_within_the_plan_is_not_disorder(labelled: pa.Table, tmp_path: Path) -> None:
    _, features = read_features(None, Plan())
    few = labelled.slice(0, 3)
    begin = int(few["event_time"].cast(pa.int64())[0].as_py())
    times = np.array([begin, begin - Plan().lateness_ms, begin])
    at = few.schema.get_field_index("event_time")
    path = tmp_path / "late.parquet"
    for earlier, taken in ((0, True), (1, False)):
        moved = pa.array(times - np.array([0, earlier, 0]), few.schema.field(at).type)
        write_table(few.set_column(at, few.schema.field(at), moved), path)
        if taken:
            assert len(take(path, features, Plan(), sort=False, most_rejected=0).table) == 3
            continue
        with pytest.raises(SettingsError, match="row 2: its event_time"):
            take(path, features, Plan(), sort=False, most_rejected=0)
    # A rejected row does not move the watermark.
    foreign = few.set_column(
        few.schema.get_field_index("currency"), "currency", pa.array(["USD", "EUR", "EUR"])
    )
    write_table(
        foreign.set_column(
            at, few.schema.field(at),
            pa.array(begin + np.array([10**8, 0, 1]), few.schema.field(at).type),
        ),
        path,
    )  # fmt: skip
    found = take(path, features, Plan(), sort=False, most_rejected=0.5)
    assert (found.rows, len(found.table), found.rejected) == (3, 2, {"CURRENCY": 1})


def test_terminals_histories_hold_the_labels_of_the_cut_off(
    labelled: pa.Table, tmp_path: Path
) -> None:
    """As the profiler publishes them: known by event time + delay - slack, and not later."""
    plan = Plan()
    _, features = read_features(None, plan)
    time = labelled["event_time"].cast(pa.int64()).to_numpy()
    cut_off = time + plan.terminal_delay_ms - plan.terminal_slack_ms
    fraud = labelled["is_fraud"].to_numpy()
    expected = {
        0: fold(labelled, features, plan, fraud).features,
        1: fold(labelled, features, plan, np.zeros_like(fraud)).features,
    }
    assert not np.array_equal(expected[0], expected[1])
    for after, rows in expected.items():
        path = tmp_path / "labelled.parquet"
        stamp = pa.timestamp("ms", "UTC")
        write_table(labelled.append_column("label_time", pa.array(cut_off + after, stamp)), path)
        found = take(path, features, plan, sort=False, most_rejected=0)
        assert np.array_equal(found.features, rows)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_file_without_transactions_is_one_line(
    labelled: pa.Table, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"none.{ending}"
    write_table(labelled.slice(0, 0), path)
    with pytest.raises(SettingsError, match=f"none.{ending}: holds no transactions"):
        train(order(path, tmp_path))


def spoilt(table: pa.Table, share: float) -> pa.Table:
    """Return the table with this many foreign currencies; the last row is there twice."""
    rows = len(table)
    foreign = np.random.default_rng(1).random(rows) < share
    foreign[-1] = False
    at = table.schema.get_field_index("currency")
    currency = pa.array(np.where(foreign, "USD", "EUR").tolist())
    told = table.set_column(at, "currency", currency)
    return pa.concat_tables([told, told.slice(rows - 1)])


def test_rows_that_the_stream_would_reject_are_counted(
    labelled: pa.Table, declared: Path, tmp_path: Path
) -> None:
    path = tmp_path / "spoilt.parquet"
    some = spoilt(labelled, 0.005)
    write_table(some, path)
    directory, told = train(order(path, tmp_path, features=declared))
    foreign = pc.sum(pc.equal(some["currency"], "USD")).as_py()
    training = told.training
    assert training.rows == len(labelled) + 1
    assert training.rejected == {"CURRENCY": foreign, "DUPLICATE": 1}
    assert (
        f"{foreign + 1} were left out, as the stream rejects them too: CURRENCY {foreign}"
        in (directory / "card.md").read_text()
    )
    listed = report(directory, told)
    assert (listed["rows"], listed["rejected"]) == (training.rows, training.rejected)

    write_table(spoilt(labelled, 0.5), path)
    with pytest.raises(
        SettingsError,
        match=r"spoilt.parquet: [\d,]+ of [\d,]+ transactions are rejected: CURRENCY [\d,]+, "
        r"DUPLICATE 1 .*--most-rejected",
    ):
        train(order(path, tmp_path, "1.0.1", features=declared))
    _, half = train(order(path, tmp_path, "1.0.1", features=declared, most_rejected=0.6))
    assert fitted(half.training).rows < 0.7 * fitted(training).rows
    write_table(spoilt(labelled, 1.1).slice(0, len(labelled) - 1), path)
    with pytest.raises(SettingsError, match=r"are rejected: CURRENCY .* fix them$"):
        train(order(path, tmp_path, "1.0.2", features=declared, most_rejected=1))
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(SettingsError, match=f"--most-rejected {share}: no share"):
            train(order(path, tmp_path, "1.0.2", most_rejected=share))
