"""The benches' own logic: what is fed, what is counted, and what fails."""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench import features, traffic
from bench.gates import RATIOS, ROWS, failures, rate, report
from bench.latency import row_number
from bench.polars_features import WAYS, frame
from stream_scorer.codec.avro import ColumnDecoder
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.core.batch import RejectReason
from stream_scorer.core.plan import Plan
from stream_scorer.simulator import simulate
from tests.oracle.handbook import customer_features

EVENTS = 1_200


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> FileRegistry:
    directory = tmp_path_factory.mktemp("registry")
    return FileRegistry(traffic.registry_with_writers(directory / "schemas"))


def _decoder(registry: FileRegistry) -> ColumnDecoder:
    return ColumnDecoder(registry, reader_schema("transaction.v1"), Plan())


def test_spoilt_input_is_rejected_where_it_is_spoilt_and_nowhere_else(
    registry: FileRegistry,
) -> None:
    table = traffic.transactions(EVENTS)
    payloads = [p for _, batch in traffic.spoilt(table, registry) for p in batch]
    rejections = _decoder(registry).decode(payloads).rejections
    assert rejections.rows.tolist() == list(range(99, EVENTS, 100))
    assert len(rejections.rows) == traffic.spoilt_count(EVENTS)
    # Four ways of being malformed, each in its turn.
    assert len(set(rejections.details[:4])) == 4
    assert RejectReason.UNKNOWN_SCHEMA in rejections.reasons
    assert RejectReason.FRAMING in rejections.reasons


def test_three_writers_give_the_events_of_one(registry: FileRegistry) -> None:
    table = traffic.transactions(EVENTS)
    one = [p for _, batch in traffic.clean(table, registry) for p in batch]
    three = [p for _, batch in traffic.mixed(table, registry) for p in batch]
    assert len({payload[:5] for payload in three}) == 3
    decoder = _decoder(registry)
    clean, mixed = decoder.decode(one).records, decoder.decode(three).records
    kept = [name for name in clean.schema.names if name != "channel"]
    assert mixed.select(kept).equals(clean.select(kept))
    # The older writer does not know the field: every third event takes its default.
    assert mixed.column("channel").to_pylist()[:3] == ["POS", "UNKNOWN", "POS"]


def test_rate_leaves_the_start_out_and_counts_to_the_last_record() -> None:
    # 20 records at once, then a pause of a minute, then 80 at 10 a second in batches of two.
    steady = 60_000 + np.repeat(np.arange(1, 41) * 200, 2)
    times = np.concatenate([np.zeros(20, np.int64), steady])
    assert rate(times[::-1]) == pytest.approx(10.0)


def test_rate_refuses_a_run_that_is_too_short_to_time() -> None:
    with pytest.raises(ValueError, match="too few"):
        rate(np.zeros(10, np.int64))


def test_report_takes_medians_and_their_ratios() -> None:
    rates = {row: [1.0, 100.0, 80.0] for row in ROWS} | {"floor": [100.0, 400.0, 160.0]}
    document = report(rates, {row: {"in": 1.26, "out": 2.0} for row in ROWS}, 10)
    assert document["ours_full"] == 80
    assert document["ratios"]["full_to_floor"] == 0.5
    assert document["bytes"]["floor"] == {"in": 1.3, "out": 2.0}
    assert document["rounds"] == 3


@pytest.mark.parametrize("ratio", RATIOS)
def test_each_gate_passes_at_its_least_and_fails_just_below_it(ratio: str) -> None:
    at_least = {name: least for name, (_, _, least) in RATIOS.items()}
    assert failures({"ratios": at_least}) == []
    below = at_least | {ratio: at_least[ratio] - 0.001}
    (line,) = failures({"ratios": below})
    assert line.startswith(f"{ratio} is ")


def test_both_loops_outputs_begin_with_the_transactions_number(registry: FileRegistry) -> None:
    table = traffic.transactions(EVENTS)
    payloads = [p for _, batch in traffic.clean(table, registry) for p in batch]
    assert [row_number(payload) for payload in payloads] == list(range(EVENTS))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_polars_gives_the_oracles_features(way: str) -> None:
    table = simulate(days=40, customers=60)
    found = WAYS[way](frame(table)).to_numpy()
    assert np.abs(found - customer_features(table).to_numpy()).max() < 1e-9


def _features_report(ours: float, unexcused: int = 0) -> dict[str, Any]:
    seconds = {"ours": [9.0, ours, 0.0], "slow": [2.0, 2.0, 2.0], "fast": [1.0, 0.5, 3.0]}
    return features.report(seconds, 1_000, 7, unexcused)


def test_features_are_held_to_the_fastest_way_of_polars() -> None:
    document = _features_report(1.0)
    assert (document["feature_seconds"], document["polars_seconds"]) == (1.0, 1.0)
    assert document["ours_to_polars"] == {"slow": 0.5, "fast": 1.0}
    assert features.failures(document) == []
    (line,) = features.failures(_features_report(1.001))
    assert line.startswith("ours takes 1.001 of the time of polars' fast")


def test_features_that_differ_without_being_ties_fail() -> None:
    (line,) = features.failures(_features_report(1.0, unexcused=2))
    assert line.startswith("2 rows differ")


def test_unlike_excuses_a_row_only_if_its_customers_second_goes_on() -> None:
    table = pa.table(
        {
            "event_time": pa.array([1, 1, 1, 2], pa.timestamp("ms")),
            "customer_id": ["a", "b", "a", "a"],
            "amount_minor": [1, 2, 3, 4],
        }
    )
    ours = np.zeros((4, 2))
    for row, expected in enumerate([(1, 0), (1, 1), (1, 1), (1, 1)]):
        theirs = ours.copy()
        theirs[row, 1] = 1e-8
        assert features.unlike(ours, theirs, table) == expected
    assert features.unlike(ours, ours + 1e-10, table) == (0, 0)


def test_rounds_are_interleaved_and_rotate() -> None:
    calls: list[str] = []
    seconds = features.measure({n: partial(calls.append, n) for n in "abc"}, 3)
    assert "".join(calls) == "abcbcacab"
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3, "c": 3}
