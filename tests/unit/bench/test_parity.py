"""The parity bench: its input and labels, its terminal profile rows, and its comparisons."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from bench import parity
from bench.parity_steps.input import AFTER_EVICTION, AGAIN, LATE, Input, build
from bench.parity_steps.labels import Labels, label, settled
from bench.parity_steps.outcomes import ASPECTS, Outcomes, Way, differences, places, report
from bench.parity_steps.streams import Traffic
from stream_scorer.core.events.batch import EventBatch, Flag
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.terminals.columns import labels_of, rows_of
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.core.terminals.pending_labels import Pending
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import load_plan
from stream_scorer.settings import MODELS_DIRECTORY

Bool = NDArray[np.bool_]
PLAN = Plan()
SEEN = tuple(
    {"name": f"{kind}_{days}", "kind": kind, "window": f"{days}d", "key": "terminal_id",
     "delay": "7d"}
    for kind in ("count", "risk") for days in (1, 30)
)  # fmt: skip


ROWS = 5
COMPARED, LATE_ROWS = (np.arange(ROWS) < 4, np.arange(ROWS) == 4)
EVERY = np.ones(ROWS, np.bool_)
BY_TERMINAL = np.array([False, True])


def _outcomes(rows: int = ROWS) -> Outcomes:
    """Return ``rows`` outcomes: decisions, but a duplicate in row 1; the last one is late."""
    found = Outcomes.none(rows, 2)
    found.count[:] = 1
    found.features[:] = np.arange(2.0 * rows).reshape(rows, 2) / 3
    found.score[:] = np.arange(rows) / 7
    found.decision[:] = 0
    found.flags[4] = 1
    found.features[1], found.score[1], found.decision[1] = 0, 0, -1
    found.reason[1] = "DUPLICATE"
    return found


def _report(*others: Outcomes, asked: Bool = COMPARED, given: Bool = EVERY) -> dict[str, Any]:
    ways = {f"way {number}": Way(other, given, asked) for number, other in enumerate(others)}
    return report(_outcomes(), ways, COMPARED, LATE_ROWS, BY_TERMINAL) | {
        "out_of_order": 1,
        "events_evicted": 1,
    }


def test_equal_ways_pass_and_every_event_counts() -> None:
    document = _report(_outcomes(), _outcomes())
    assert parity.failures(document) == []
    assert (document["events"], document["features_equal"], document["scores_equal"]) == (4, 4, 4)
    assert (document["decided"], document["late"], document["late_rows_equal"]) == (3, 1, 1)
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
    document = _report(_outcomes(), other)
    same, unlike = (way["unlike"] for way in document["ways"])
    assert same == dict.fromkeys(ASPECTS, 0)
    assert {aspect for aspect, count in unlike.items() if count} == aspects
    assert document["features_equal"] == 4 - ("features" in aspects)
    assert document["scores_equal"] == 4 - ("score" in aspects)
    assert any(line.startswith("way 1") for line in parity.failures(document))
    (line,) = differences(_outcomes(), other, list("abcde"), EVERY, 5)
    assert all(aspect in line for aspect in aspects)


@pytest.mark.parametrize(("count", "name"), [(0, "missing"), (2, "duplicates")])
def test_a_row_without_an_outcome_or_with_two_fails(count: int, name: str) -> None:
    other = _outcomes()
    other.count[2] = count
    document = _report(other)
    assert document["ways"][0][name] == 1
    assert f"way 0: 1 {name}, must be 0" in parity.failures(document)


def _degraded(found: Outcomes) -> None:
    found.features[4, 1], found.score[4], found.decision[4] = 9, 9, 1
    found.flags[4] |= Flag.DEGRADED


def _customers_feature(found: Outcomes) -> None:
    found.features[4, 0] = 9


def _not_late(found: Outcomes) -> None:
    found.flags[4] = Flag.DEGRADED


def _refused(found: Outcomes) -> None:
    found.decision[4] = -1


@pytest.mark.parametrize(
    ("change", "equal"),
    [(_degraded, 1), (_customers_feature, 0), (_not_late, 0), (_refused, 0)],
)
def test_a_late_row_is_equal_except_for_terminal_features(
    change: Callable[[Outcomes], None], equal: int
) -> None:
    other = _outcomes()
    change(other)
    document = _report(other)
    assert document["features_equal"] == document["scores_equal"] == 4
    assert document["late_rows_equal"] == equal
    assert parity.failures(document) == ([] if equal else ["0 late rows are equal, must be 1"])


def test_a_way_is_compared_only_by_the_rows_that_it_got() -> None:
    given, asked = EVERY.copy(), COMPARED.copy()
    given[0] = asked[0] = asked[3] = False
    other = _outcomes()
    other.count[0] = 0
    _last_bit(other)
    document = _report(other, asked=asked, given=given)
    assert parity.failures(document) == []
    assert document["ways"][0]["compared"] == 2
    other.count[0] = 1
    assert _report(other, asked=asked, given=given)["ways"][0]["duplicates"] == 1


def test_uncompared_values_are_reported_separately() -> None:
    other = _outcomes()
    _last_bit(other)
    asked = COMPARED & (np.arange(ROWS) != 3)
    ways = {"way": Way(other, EVERY, asked)}
    document = report(_outcomes(), ways, asked, LATE_ROWS, BY_TERMINAL)
    assert document["events"] == document["features_equal"] == 3
    assert document["ways"][0]["unlike_after_eviction"] == 1


def test_a_parity_run_without_what_it_is_about_fails() -> None:
    document = _report(_outcomes())
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


@pytest.fixture(scope="module")
def rows() -> Input:
    return build(15_000)


@pytest.fixture(scope="module")
def labels(rows: Input) -> Labels:
    return label(rows, PLAN)


def test_the_input_holds_all_kinds_and_their_times(rows: Input) -> None:
    assert int(rows.compared.sum()) == 15_000
    kinds = {AFTER_EVICTION, "late_duplicate", "id_again", "resent", *LATE}
    assert kinds <= set(rows.kind.tolist())
    assert rows.out_of_order() > 100
    behind = rows.clock - rows.time
    # The longest time in memory: 30 days and twice the lateness.
    horizon = (30 * 24 + 2) * 3_600_000
    assert (behind[rows.kind == AFTER_EVICTION] > horizon).all()
    assert np.diff(rows.clock).max() > horizon
    assert (behind[rows.late] > PLAN.lateness_ms).all()
    again = np.isin(rows.kind, list(AGAIN))
    assert (behind[rows.compared & ~again] <= PLAN.lateness_ms).all()


def test_only_late_events_share_terminals_with_late_events(rows: Input) -> None:
    terminal = np.array(rows.table.column("terminal_id").to_pylist())
    assert rows.compared.sum() * 0.9 < rows.shared.sum() < rows.compared.sum()
    assert not set(terminal[rows.late].tolist()) & set(terminal[rows.shared].tolist())


def test_what_is_sent_again_is_the_same_transaction(rows: Input) -> None:
    ids = rows.table.select(["customer_id", "transaction_id"]).to_pylist()
    first: dict[tuple[str, ...], int] = {}
    moved = 0
    for row, (identity, time) in enumerate(zip(ids, rows.time.tolist(), strict=True)):
        known = first.setdefault(tuple(identity.values()), time)
        if rows.kind[row] in AGAIN:
            assert (time > known) == (rows.kind[row] == "resent")
            moved += time > known
    assert moved > 50


def test_labels_are_in_time_or_too_late_by_far(rows: Input, labels: Labels) -> None:
    hold = PLAN.terminal_delay_ms - PLAN.terminal_slack_ms
    event = rows.time[labels.row]
    left = rows.clock[labels.before - 1] - hold - PLAN.lateness_ms
    past = labels.known > event + hold
    assert (labels.before > labels.row).all()
    assert (np.diff(labels.before) >= 0).all()
    assert (event > left)[labels.in_time].all()
    assert not past[labels.in_time].any()
    assert (event < left - 4 * 86_400_000)[labels.delivered_late].all()
    assert not past[labels.delivered_late].any()
    assert (labels.in_time.astype(int) + labels.delivered_late + past == 1).all()
    # If these labels counted, they would change the features.
    assert labels.fraud[~labels.in_time].all()
    assert labels.delivered_late.sum() > 100
    assert past.sum() == labels.too_late - labels.delivered_late.sum() > 100
    assert (labels.known[labels.in_time] < 0).sum() > 100
    assert (labels.known == event + hold).sum() > 100


def test_terminals_rows_are_those_of_the_profiler(rows: Input, labels: Labels) -> None:
    (records,) = rows.table.combine_chunks().to_batches()
    (told,) = labels.table(rows).combine_chunks().to_batches()
    paid = rows_of(
        EventBatch(records, np.zeros(len(rows), np.int32), np.arange(len(rows)), rows.time)
    )
    heard = labels_of(told, np.ones(len(labels), np.int32), np.arange(len(labels)))
    pending = Pending(1, 2, PLAN.terminal_delay_ms - PLAN.terminal_slack_ms, PLAN.lateness_ms)
    # In the order of delivery: a label directly before its transaction's place.
    place = np.arange(len(rows)) + np.searchsorted(labels.before, np.arange(len(rows)), "right")
    label_place = np.setdiff1d(np.arange(len(rows) + len(labels)), place)
    folded = pending.fold(paid, np.zeros(len(rows), np.int64), place, heard, label_place)
    counts = folded.counts
    assert counts.late_labels + counts.after_cutoff == labels.too_late
    found = folded.settled
    table = settled(rows, labels, PLAN)
    assert len(table) == len(found) + len(folded.rows)
    delayed = compile_features(SEEN, PLAN).engine.delayed
    theirs = TerminalTable()
    theirs.add(found.rows.terminal_id, found.rows.event_time, found.fraud)
    theirs.watermark = table.watermark
    asked = np.flatnonzero(rows.compared)
    terminal = rows.table.column("terminal_id").combine_chunks().cast(pa.string())
    seen = [np.zeros((len(asked), 16)) for _ in range(2)]
    for each, observed in zip((table, theirs), seen, strict=True):
        each.observe(delayed, terminal.take(pa.array(asked)), rows.time[asked], observed)
    assert (seen[0] == seen[1]).all()
    assert len(np.unique(seen[0])) > 20


def test_every_label_is_sent_once_and_in_its_place(rows: Input, labels: Labels) -> None:
    keys = [b"k"] * len(rows)
    names = [str(number).encode() for number in range(len(labels))]
    traffic = Traffic(rows, labels, keys, keys, names, names)
    sent = []
    for first in range(0, len(rows), 250):
        riders = traffic.riders("labels", first, min(first + 250, len(rows)))
        assert len(riders.keys) == len(riders.values) == len(riders.before)
        sent += list(zip(riders.values, (riders.before + first).tolist(), strict=True))
    assert sent == list(zip(names, labels.before.tolist(), strict=True))


def test_the_common_plan_is_the_shipped_one_except_its_wait(tmp_path: Path) -> None:
    ours = load_plan(parity.waiting_plan(tmp_path))
    shipped = load_plan(MODELS_DIRECTORY / "fraud" / "plan.toml")
    assert ours.terminal_wait_ms > shipped.terminal_wait_ms
    assert replace(ours, terminal_wait_ms=shipped.terminal_wait_ms) == shipped
