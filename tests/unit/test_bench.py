"""The benches' own logic: what is fed, what is counted, and what fails."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench import features, parity, traffic
from bench.gates import RATIOS, ROWS, failures, rate, report
from bench.latency import row_number
from bench.parity_input import AFTER_EVICTION, build
from bench.parity_outcomes import ASPECTS, Outcomes, differences, places
from bench.parity_outcomes import report as parity_report
from bench.polars_features import WAYS, frame
from stream_scorer.codec.avro import ColumnDecoder
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.core.batch import RejectReason
from stream_scorer.core.plan import Plan
from stream_scorer.kafka.partitioner import partition_of
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


def _outcomes(rows: int = 4) -> Outcomes:
    """Return ``rows`` outcomes: decisions, but for a duplicate in row 1; the first one late."""
    found = Outcomes.none(rows, 2)
    found.count[:] = 1
    found.features[:] = np.arange(2.0 * rows).reshape(rows, 2) / 3
    found.score[:] = np.arange(rows) / 7
    found.decision[:] = 0
    found.flags[0] = 1
    found.features[1], found.score[1], found.decision[1] = 0, 0, -1
    found.reason[1] = "DUPLICATE"
    return found


def _parity_report(*others: Outcomes, compared: Any = (True, True, True, True)) -> dict[str, Any]:
    ways = {f"way {number}": other for number, other in enumerate(others)}
    return parity_report(_outcomes(), ways, np.array(compared)) | {
        "out_of_order": 1,
        "events_evicted": 1,
    }


def test_equal_ways_pass_and_every_event_counts() -> None:
    document = _parity_report(_outcomes(), _outcomes())
    assert parity.failures(document) == []
    assert (document["events"], document["features_equal"], document["scores_equal"]) == (4, 4, 4)
    assert (document["decided"], document["late"]) == (3, 1)
    assert document["rejected"] == {"DUPLICATE": 1}


def _last_bit(found: Outcomes) -> None:
    found.features[3, 1] = np.nextafter(found.features[3, 1], 9)


def _negative_zero(found: Outcomes) -> None:
    found.score[0] = -0.0


def _other_decision(found: Outcomes) -> None:
    found.decision[2] = 1


def _other_flag(found: Outcomes) -> None:
    found.flags[2] = 1


def _other_reason(found: Outcomes) -> None:
    found.reason[1] = "MALFORMED"


def _decided_after_all(found: Outcomes) -> None:
    found.reason[1], found.decision[1] = "", 0


@pytest.mark.parametrize(
    ("change", "aspects"),
    [
        (_last_bit, {"features"}),
        (_negative_zero, {"score"}),
        (_other_decision, {"decision"}),
        (_other_flag, {"flags"}),
        (_other_reason, {"reason"}),
        (_decided_after_all, {"features", "score", "decision", "reason"}),
    ],
)
def test_each_difference_between_ways_is_found_and_fails(
    change: Callable[[Outcomes], None], aspects: set[str]
) -> None:
    other = _outcomes()
    change(other)
    document = _parity_report(_outcomes(), other)
    same, unlike = (way["unlike"] for way in document["ways"])
    assert same == dict.fromkeys(ASPECTS, 0)
    assert {aspect for aspect, count in unlike.items() if count} == aspects
    assert document["features_equal"] == 4 - ("features" in aspects)
    assert document["scores_equal"] == 4 - ("score" in aspects)
    assert any(line.startswith("way 1") for line in parity.failures(document))
    everywhere = np.ones(4, np.bool_)
    (line,) = differences(_outcomes(), other, ["a", "b", "c", "d"], everywhere, 5)
    assert all(aspect in line for aspect in aspects)


@pytest.mark.parametrize(("count", "name"), [(0, "missing"), (2, "duplicates")])
def test_a_row_without_an_outcome_or_with_two_fails(count: int, name: str) -> None:
    other = _outcomes()
    other.count[2] = count
    document = _parity_report(other)
    assert document["ways"][0][name] == 1
    assert f"way 0: 1 {name}" in parity.failures(document)


def test_what_is_not_compared_is_told_apart() -> None:
    other = _outcomes()
    _last_bit(other)
    document = _parity_report(other, compared=(True, True, True, False))
    assert document["events"] == document["features_equal"] == 3
    assert document["ways"][0]["unlike_after_eviction"] == 1
    assert parity.failures(document) == []


def test_a_parity_run_without_what_it_is_about_fails() -> None:
    document = _parity_report(_outcomes())
    nothing: dict[str, Any] = {"late": 0, "out_of_order": 0, "events_evicted": 0, "rejected": {}}
    for name, none in nothing.items():
        (line,) = parity.failures(document | {name: none})
        assert line.startswith("no event was")


def test_places_follow_the_order_of_each_partition() -> None:
    keys = [str(number % 7).encode() for number in range(40)]
    found = places(keys, 4)
    assert sorted(row for rows in found for row in rows) == list(range(40))
    for partition, rows in enumerate(found):
        assert rows == sorted(rows)
        assert {partition_of(keys[row], 4) for row in rows} <= {partition}


def test_the_parity_input_holds_all_kinds_and_their_times() -> None:
    rows = build(15_000)
    assert int(rows.compared.sum()) == 15_000
    assert {AFTER_EVICTION, "late_beyond", "late_duplicate", "id_again"} <= set(rows.kind.tolist())
    assert rows.out_of_order() > 100
    time = rows.table.column("event_time").cast(pa.int64()).to_numpy()
    seen = np.maximum.accumulate(time)
    # What is remembered at most: 30 days, and the lateness twice.
    horizon = (30 * 24 + 2) * 3_600_000
    asked = np.flatnonzero(~rows.compared)
    assert (seen[asked] - time[asked] > horizon).all()
    assert np.diff(seen).max() > horizon
