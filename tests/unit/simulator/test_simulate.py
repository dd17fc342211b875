"""The simulator gives the published data set, and does not change the global random state."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.simulator import SCHEMA, simulate


def test_the_published_counts_come_out(published: pa.Table) -> None:
    scenarios = np.bincount(published["fraud_scenario"].to_numpy())
    assert published.num_rows == 1_754_155
    assert pc.sum(published["is_fraud"]).as_py() == 14_681
    assert scenarios[1:].tolist() == [973, 9_077, 4_631]


def test_the_first_row_is_the_published_one(published: pa.Table) -> None:
    first = published.slice(0, 1).to_pylist()[0]
    assert str(first["event_time"]) == "2018-04-01 00:00:31"
    assert (first["customer_id"], first["terminal_id"]) == ("596", "3156")
    assert first["amount_minor"] == 5_716
    assert first["currency"] == "EUR"


def test_rows_are_in_time_order_and_named_by_their_number(published: pa.Table) -> None:
    times = published["event_time"].cast(pa.int64()).to_numpy()
    assert (np.diff(times) >= 0).all()
    assert published["transaction_id"].slice(1_000_000, 1).to_pylist() == ["1000000"]


def test_fewer_days_are_the_beginning_of_more(published: pa.Table) -> None:
    few = simulate(days=5)
    same = ["event_time", "customer_id", "terminal_id"]
    assert few.select(same).equals(published.slice(0, few.num_rows).select(same))


def test_cities_differ_in_all_but_their_laws() -> None:
    tables = [simulate(days=40, customers=300, terminals=900, city=city) for city in (0, 1, 2)]
    assert tables[0].equals(simulate(days=40, customers=300, terminals=900))
    assert tables[1].equals(simulate(days=40, customers=300, terminals=900, city=1))
    for column in ("event_time", "customer_id", "terminal_id", "amount_minor"):
        # All of the first customer's values are drawn again: places, times, amounts.
        drawn = {
            str(table.filter(pc.field("customer_id") == "0")[column].slice(0, 20).to_pylist())
            for table in tables
        }
        assert len(drawn) == 3 or column == "customer_id"
    leaked = [
        set(table.filter(pc.field("fraud_scenario") == 3)["customer_id"].to_pylist())
        for table in tables
    ]
    assert not leaked[0] == leaked[1] == leaked[2]
    means = [pc.mean(table["amount_minor"]).as_py() for table in tables]
    assert max(means) < 1.3 * min(means)
    for wrong in (-1, 4_001):
        with pytest.raises(SettingsError, match="city"):
            simulate(days=1, customers=5, city=wrong)


def test_the_schema_is_the_transaction_schema_plus_the_labels(published: pa.Table) -> None:
    assert published.schema == SCHEMA
    assert simulate(days=1).schema.names[-2:] == ["is_fraud", "fraud_scenario"]


def test_global_random_state_is_left_alone() -> None:
    random.seed(42)
    np.random.seed(42)  # noqa: NPY002 this is the state under test
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    simulate(days=2, customers=50)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index] # noqa: NPY002


@pytest.mark.parametrize("argument", ["days", "customers", "terminals"])
def test_too_few_of_anything_is_refused_by_name(argument: str) -> None:
    with pytest.raises(SettingsError, match=argument):
        simulate(**{argument: 0})
