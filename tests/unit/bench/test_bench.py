"""The benches' own logic: their input, their counts, and their gates."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.handbook_steps import features
from bench.handbook_steps.polars_features import WAYS, frame
from bench.harness import customers, traffic
from bench.harness.gates import RATIOS, ROWS, failures, rate, report
from bench.harness.rounds import measure
from bench.latency_steps.stages import row_number
from bench.verdicts import state
from bench.verdicts.state import Size
from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import Kafka
from stream_scorer.simulator import simulate
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.checkpoints.ring_columns import columns_of
from tests.oracle.handbook import customer_features
from tests.support.core.manifests import RICH

EVENTS = 1_200


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> FileRegistry:
    directory = tmp_path_factory.mktemp("registry")
    return FileRegistry(traffic.registry_with_writers(directory / "schemas"))


def _decoder(registry: FileRegistry) -> ColumnDecoder:
    return ColumnDecoder(registry, reader_schema("transaction.v1"), Plan())


@pytest.mark.thorough
def test_spoilt_input_is_rejected_exactly_where_it_is_spoilt(
    registry: FileRegistry,
) -> None:
    table = traffic.transactions(EVENTS)
    payloads = [p for _, batch in traffic.spoilt(table, registry) for p in batch]
    rejections = _decoder(registry).decode(payloads).rejections
    assert rejections.rows.tolist() == list(range(99, EVENTS, 100))
    assert len(rejections.rows) == traffic.spoilt_count(EVENTS)
    # There are four ways of being malformed, in turn.
    assert len(set(rejections.details[:4])) == 4
    assert RejectReason.UNKNOWN_SCHEMA in rejections.reasons
    assert RejectReason.FRAMING in rejections.reasons


@pytest.mark.thorough
def test_three_writers_give_the_events_of_one(registry: FileRegistry) -> None:
    table = traffic.transactions(EVENTS)
    one = [p for _, batch in traffic.clean(table, registry) for p in batch]
    three = [p for _, batch in traffic.mixed(table, registry) for p in batch]
    assert len({payload[:5] for payload in three}) == 3
    decoder = _decoder(registry)
    clean, mixed = decoder.decode(one).records, decoder.decode(three).records
    kept = [name for name in clean.schema.names if name != "channel"]
    assert mixed.select(kept).equals(clean.select(kept))
    # Every third writer does not have the field, so its events get the default.
    assert mixed.column("channel").to_pylist()[:3] == ["POS", "UNKNOWN", "POS"]


def test_rate_leaves_the_start_out_and_counts_to_the_last_record() -> None:
    # 20 records at the same time, a pause of a minute, then 80 records at 10 a second, in pairs.
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


@pytest.mark.thorough
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
    seconds = {
        "ours": [9.0, ours, 0.0],
        "rolling_group_by": [2.0, 2.0, 2.0],
        "rolling_sum_by": [1.0, 0.5, 3.0],
        "packed_sums": [0.5, 0.5, 0.5],
    }
    return features.report(seconds, 1_000, 7, unexcused)


def test_features_are_compared_with_the_faster_documented_way() -> None:
    document = _features_report(1.0)
    assert (document["feature_seconds"], document["polars_seconds"]) == (1.0, 1.0)
    assert document["ours_to_polars"] == {
        "rolling_group_by": 0.5,
        "rolling_sum_by": 1.0,
        "packed_sums": 2.0,
    }
    assert features.failures(document) == []
    (line,) = features.failures(_features_report(1.001))
    assert line.startswith("ours takes 1.001 of the time of polars' rolling_sum_by")


def test_features_that_differ_without_being_ties_fail() -> None:
    (line,) = features.failures(_features_report(1.0, unexcused=2))
    assert line.startswith("2 rows differ")


def test_unlike_excuses_a_row_only_if_its_second_continues() -> None:
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


@pytest.mark.thorough
def test_rounds_are_interleaved_and_rotate() -> None:
    calls: list[str] = []
    seconds = measure({n: partial(calls.append, n) for n in "abc"}, 3)
    assert "".join(calls) == "abcbcacab"
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def _size(**changes: Any) -> Size:
    size = Size(1_000, 3, state_bytes=9, memory=2_048_000, restore_seconds=60.0)
    size.rates = {"on": [90.0, 40.0, 180.0], "off": [100.0, 50.0, 150.0]}
    size.buckets, size.events, size.restart_seconds = 3 * 4 * BUCKETS, 7, 60.0
    return replace(size, **changes)


def _missed(*sizes: Size) -> list[str]:
    return state.failures(state.report(sizes, 4), [size.cycles for size in sizes])


def test_a_state_report_compares_round_by_round() -> None:
    document = state.report([_size()], 4)
    (row,) = document["sizes"]
    assert (row["bytes_per_key"], row["checkpoint_cycles"]) == (2_048, 3.0)
    # 0.9, 0.8 and 1.2 of the throughput without checkpoints; the medians' ratio is 0.9 as well.
    assert document["checkpoint_cost"] == row["checkpoint_cost"] == 0.1
    assert (row["events_per_second"], row["without_checkpoints"]) == (90, 100)


def test_every_state_gate_passes_at_its_bound_and_fails_past_it() -> None:
    slower = {"on": [67.5] * 3, "off": [67.5] * 3}
    assert _missed(_size(), _size(rates=slower)) == []
    missed = [
        _missed(_size(memory=2_049_000)),
        _missed(_size(restore_seconds=60.1)),
        _missed(_size(restart_seconds=60.1)),
        _missed(_size(rates={"on": [89.0], "off": [100.0]})),
        _missed(_size(buckets=3 * 4 * BUCKETS - 41)),
        _missed(_size(), _size(rates={"on": [67.0], "off": [67.0]})),
    ]
    assert [len(lines) for lines in missed] == [1] * 6
    words = ("bytes each", "restore_seconds", "restart_seconds", "cost 0.11", "2.99 ", "slowest")
    assert all(word in lines[0] for word, lines in zip(words, missed, strict=True))


def test_rounds_are_long_enough_for_their_cycles() -> None:
    size = _size(state_bytes=4 * BUCKETS * 6_000, cycles=2)
    # A bucket costs its record and 4,000 bytes; an event pays 40 bytes.
    events = 5 * state.round_events(size, 4, 40.0, 5)
    assert 1.0 < events * 40 / (2 * 4 * BUCKETS * 10_000) < 1.1


def test_rates_are_reported_for_each_round_after_the_first() -> None:
    records = np.full(31, 100)
    times = np.concatenate([[5], 1_000 + np.arange(10) * 100, 9_000 + np.arange(20) * 50])
    rates = state.round_rates(times, records, [100, 1_000, 2_000])
    assert rates == pytest.approx([1_000.0, 2_000.0])
    with pytest.raises(ValueError, match="two rounds"):
        state.round_rates(times, records, [150, 950, 2_000])
    with pytest.raises(ValueError, match="missing"):
        state.round_rates(times, records, [100, 1_000, 2_100])


def test_customers_have_sixty_events_a_month_and_keep_that_pace() -> None:
    past = customers.histories(np.array([3, 8]))
    assert past.column("customer_id").to_pylist() == ["c00000003"] * 60 + ["c00000008"] * 60
    times = past.column("event_time").cast(pa.int64()).to_numpy().reshape(2, 60)
    assert (np.diff(times) > 0).all()
    month = 30 * 86_400_000
    assert times.min() >= customers.START_MS - month
    assert times.max() < customers.START_MS
    # The next 120 events of two customers fill another month.
    later = customers.later_events(0, 120, 2)
    after = later.column("event_time").cast(pa.int64()).to_numpy() - customers.START_MS
    assert (after[0], after[-1]) == (0, month * 119 // 120)
    assert set(later.column("customer_id").to_pylist()) == {"c00000000", "c00000001"}
    numbers = [*past.column("transaction_id").to_pylist(), *later.column(0).to_pylist()]
    assert len(set(numbers)) == 240


@pytest.mark.thorough
def test_a_filled_checkpoint_has_every_customer_by_partition() -> None:
    plan = Plan()
    where = customers.partitions_of(40, 4)
    rings = customers.fill(where, compile_features(RICH, plan), plan)
    kafka = Kafka(bootstrap="nowhere:1", group="g")
    owner = Owner("g", kafka.topics.transactions)
    found: dict[bytes, int] = {}
    buckets = 0
    records = list(customers.checkpoint(rings, kafka, 4))
    for partition in range(4):
        assembly = Assembly(owner, partition)
        for each, some in records:
            if each == partition:
                assembly.add(some)
        for bucket in assembly.buckets().values():
            buckets += 1
            assert (bucket.offset, bucket.partitions) == (0, 4)
            columns = columns_of(bucket.payload)
            found |= dict.fromkeys(columns.customers, partition)
            assert (np.diff(columns.first) == 60).all()
    assert buckets == 4 * BUCKETS
    assert found == {f"c{n:08d}".encode(): int(p) for n, p in enumerate(where)}
