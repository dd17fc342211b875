"""The benches' own logic: what is fed, what is counted, and what fails."""

import numpy as np
import pytest

from bench import traffic
from bench.gates import RATIOS, ROWS, failures, rate, report
from bench.latency import row_number
from stream_scorer.codec.avro import ColumnDecoder
from stream_scorer.codec.schemas import FileRegistry, reader_schema
from stream_scorer.core.batch import RejectReason
from stream_scorer.core.plan import Plan

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
