"""Delayed terminal history equals plain Python, in any pieces, and however far it is ahead."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import Flag
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features, compile_union
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.core.terminals.history import TerminalTable
from tests.support.core.deciding import score
from tests.support.core.events import NOW, batch, event
from tests.support.effort import examples
from tests.unit.core.decision.test_observe import Linear

SECOND = 1_000
PLAN = Plan(terminal_delay_ms=10 * SECOND, terminal_slack_ms=2 * SECOND, lateness_ms=SECOND)
AT_TERMINAL = {"key": "terminal_id", "delay": "10s"}
SPECS: list[dict[str, Any]] = [
    {"name": "risk 5", "kind": "risk", "window": "5s", **AT_TERMINAL},
    {"name": "mine", "kind": "count", "window": "30s"},
    {"name": "count 20", "kind": "count", "window": "20s", **AT_TERMINAL},
    {"name": "risk 20", "kind": "risk", "window": "20s", **AT_TERMINAL},
    {"name": "count 5", "kind": "count", "window": "5s", **AT_TERMINAL},
    {"name": "share", "kind": "ratio", "feature": "count 5", "to": "count 20", "missing": -1},
]
FEATURES = compile_features(SPECS, PLAN)

Row = tuple[str, int, bool]
rows = st.lists(
    st.tuples(st.sampled_from("xyz"), st.integers(0, 60 * SECOND), st.booleans()), max_size=60
)


def filled(pieces: Sequence[Sequence[Row]], watermark: int | None) -> TerminalTable:
    table = TerminalTable()
    for piece in pieces:
        table.add(
            pa.array([terminal for terminal, _, _ in piece], pa.string()),
            np.array([NOW + time for _, time, _ in piece], np.int64),
            np.array([fraud for _, _, fraud in piece], np.bool_),
        )
    if watermark is not None:
        table.watermark = NOW + watermark
    return table


def expected(known: Sequence[Row], terminal: str, time: int, watermark: int | None) -> list[float]:
    """Return risk 5, count 20, risk 20, count 5, by looking at every row."""

    def window(seconds: int) -> list[bool]:
        return [
            fraud
            for at, e, fraud in known
            if at == terminal
            and time - (10 + seconds) * SECOND < e <= time - 10 * SECOND
            and watermark is not None
            and e <= watermark
        ]

    short, long = window(5), window(20)
    return [
        sum(short) / len(short) if short else 0.0, float(len(long)),
        sum(long) / len(long) if long else 0.0, float(len(short)),
    ]  # fmt: skip


def seen(table: TerminalTable, asked: Sequence[tuple[str, int]]) -> tuple[list[Any], list[bool]]:
    delayed = FEATURES.engine.delayed
    out = np.full((len(asked), FEATURES.engine.width), np.nan)
    lacking = table.observe(
        delayed,
        pa.array([terminal for terminal, _ in asked], pa.string()),
        np.array([NOW + time for _, time in asked], np.int64),
        out,
    )
    return out[:, 1:].tolist(), lacking.tolist()


@settings(max_examples=examples(200), deadline=None)
@given(
    known=rows,
    cuts=st.lists(st.integers(0, 60), max_size=4),
    watermark=st.none() | st.integers(0, 70 * SECOND),
    asked=st.lists(
        st.tuples(st.sampled_from("wxyz"), st.integers(0, 90 * SECOND)), min_size=1, max_size=20
    ),
)
def test_every_window_equals_plain_python_in_any_pieces(
    known: list[Row], cuts: list[int], watermark: int | None, asked: list[tuple[str, int]]
) -> None:
    edges = [0, *sorted(min(cut, len(known)) for cut in cuts), len(known)]
    pieces = [known[a:b] for a, b in pairwise(edges)]
    values, lacking = seen(filled(pieces, watermark), asked)
    assert values == [expected(known, *one, watermark) for one in asked]
    assert lacking == [watermark is None or t - 10 * SECOND > watermark for _, t in asked]


@settings(max_examples=examples(200), deadline=None)
@given(known=rows, more=rows, edges=st.lists(st.integers(0, 60 * SECOND), max_size=5))
def test_evicted_rows_do_not_change_complete_answers(
    known: list[Row], more: list[Row], edges: list[int]
) -> None:
    table = filled([known], 90 * SECOND)
    for edge in edges:
        table.evict(NOW + edge)
    top = max(edges, default=-1)
    table.add(
        pa.array([terminal for terminal, _, _ in more], pa.string()),
        np.array([NOW + time for _, time, _ in more], np.int64),
        np.array([fraud for _, _, fraud in more], np.bool_),
    )
    asked = [(terminal, time * SECOND) for terminal in "xyz" for time in range(0, 90, 7)]
    values, lacking = seen(table, asked)
    kept = [row for row in [*known, *more] if row[1] > top]
    assert values == [expected(kept, *one, 90 * SECOND) for one in asked]
    assert lacking == [bool(edges) and time - 30 * SECOND < top for _, time in asked]
    table.evict(NOW + 61 * SECOND)
    table.evict(NOW)  # going back changes nothing
    assert table.edge == NOW + 61 * SECOND


def test_the_ends_of_a_window_by_hand() -> None:
    times = [5_000, 5_001, 9_999, 10_000, 10_001]
    table = filled([[("x", time, time == 10_000) for time in times]], 20_000)
    # (t - 15 s, t - 10 s]: an event exactly 15 s old is outside, one exactly 10 s old is inside.
    (found,), _ = seen(table, [("x", 20_000)])
    assert found == [1 / 3, 4, 1 / 4, 3]


def test_how_far_ahead_the_table_is_changes_nothing() -> None:
    known = [("x", time * 100, time % 3 == 0) for time in range(300)]
    told = [
        seen(filled([[row for row in known if row[1] <= ahead]], ahead), [("x", 20_000)])
        for ahead in (10_000, 12_345, 29_900)
    ]
    assert told[0] == told[1] == told[2]
    assert told[0][1] == [False]
    # With an earlier watermark, it sees the existing rows and reports that some are missing; rows
    # after the watermark are incomplete.
    behind = seen(filled([known], 9_000), [("x", 20_000)])
    assert behind == ([expected(known, "x", 20_000, 9_000)], [True])
    assert behind[0] != told[0][0]


def test_memory_is_bounded_by_what_is_held() -> None:
    table, rounds, per_round = TerminalTable(), 300, 1_000
    numbers = np.random.default_rng(0)
    largest = 0
    for number in range(rounds):
        ids = numbers.integers(0, 200 + number, per_round)
        time = np.sort(number * SECOND + numbers.integers(0, SECOND, per_round))
        table.add(pa.array([f"{n}" for n in ids]), time, ids % 7 == 0)
        table.watermark = number * SECOND
        table.evict((number - 30) * SECOND)
        largest = max(largest, len(table._store.cells))
    assert 30 * per_round <= len(table) <= 40 * per_round
    assert largest <= 5 * 40 * per_round
    # Terminals without new rows are forgotten, too.
    assert len(table._store.slots) < 3_000


def test_a_watermark_never_moves_back_and_begins_at_never() -> None:
    table = TerminalTable()
    assert (table.watermark, table.edge, len(table)) == (NEVER, NEVER, 0)
    table.watermark = 5
    table.watermark = 5
    with pytest.raises(ValueError, match="watermark goes from 5 back to 4"):
        table.watermark = 4


def model(*specs: dict[str, Any]) -> Model:
    return Model(
        "m", "1.0.0", Linear(), compile_features(specs or SPECS, PLAN), Thresholds(0.5, 0.9)
    )


def test_decisions_record_what_they_used_and_if_it_was_enough() -> None:
    events = batch([event(number, event_time=NOW + number * 10 * SECOND) for number in range(3)])
    table = filled([[("x", 0, True), ("x", 5_000, False)]], 5_000)
    decided = score(events, PartitionRings(FEATURES), PLAN, model(), terminals=table).decisions
    assert decided.flags.tolist() == [0, 0, Flag.DEGRADED]
    assert decided.features[:, 0].tolist() == [0.0, 1.0, 0.0]
    assert decided.features[:, 2].tolist() == [0.0, 1.0, 2.0]
    assert decided.terminal_watermark is not None
    assert (decided.terminal_watermark - NOW).tolist() == [-10_000, 0, 5_000]


@settings(max_examples=examples(60), deadline=None)
@given(
    known=rows,
    asked=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("wxyz"), st.integers(0, 90 * SECOND)),
        min_size=1,
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    ahead=st.lists(st.integers(0, 40 * SECOND), min_size=31, max_size=31),
)
def test_batches_and_a_table_ahead_do_not_change_decisions(
    known: list[Row], asked: list[tuple[str, str, int]], cuts: list[int], ahead: list[int]
) -> None:
    stream = [
        event(
            number, customer_id=customer, terminal_id=terminal, event_time=NOW + time,
            timestamp=NOW + time, partition=ord(customer) % 2,
        )
        for number, (customer, terminal, time) in enumerate(asked)
    ]  # fmt: skip
    known = sorted(known, key=lambda row: row[1])
    whole = filled([known], 90 * SECOND)
    at_once = score(batch(stream), PartitionRings(FEATURES), PLAN, model(), terminals=whole)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    table, rings, reached, given_up = TerminalTable(), PartitionRings(FEATURES), 0, 0
    features: list[list[float]] = []
    flags: list[int] = []
    used: list[int] = []
    for part, (low, high) in enumerate(pairwise(edges)):
        # The table's watermark is exactly what the batch needs, or any later one.
        needed = max((time for _, _, time in asked[low:high]), default=0) - 10 * SECOND
        reached = max(reached, needed + ahead[part])
        while given_up < len(known) and known[given_up][1] <= reached:
            terminal, time, fraud = known[given_up]
            table.add(pa.array([terminal]), np.array([NOW + time]), np.array([fraud]))
            given_up += 1
        table.watermark = NOW + reached
        scored = score(batch(stream[low:high]), rings, PLAN, model(), terminals=table)
        rings.release(scored.journals)
        features += scored.decisions.features.tolist()
        flags += scored.decisions.flags.tolist()
        assert scored.decisions.terminal_watermark is not None
        used += scored.decisions.terminal_watermark.tolist()
    assert features == at_once.decisions.features.tolist()
    assert flags == at_once.decisions.flags.tolist()
    assert at_once.decisions.terminal_watermark is not None
    assert used == at_once.decisions.terminal_watermark.tolist()


def test_without_a_table_all_is_degraded_and_a_replay_needs_none() -> None:
    events = batch([event()])
    decided = score(events, PartitionRings(FEATURES), PLAN, model()).decisions
    assert decided.flags.tolist() == [Flag.DEGRADED]
    assert decided.terminal_watermark is not None
    assert decided.terminal_watermark.tolist() == [NEVER]
    assert decided.features.tolist() == [[0, 1, 0, 0, 0, -1]]
    replayed = observe(events, PartitionRings(FEATURES), PLAN, FEATURES)
    assert replayed.flags.tolist() == [0]
    assert replayed.observed[0, 0] == 1
    assert np.isnan(replayed.observed[0, 1:]).all()


def test_a_model_that_asks_no_terminal_is_never_degraded() -> None:
    own = [{"name": "mine", "kind": "count", "window": "30s"}]
    decided = score(
        batch([event()]), PartitionRings(model(*own).features), PLAN, model(*own)
    ).decisions
    assert (decided.flags.tolist(), decided.terminal_watermark) == ([0], None)
    # Not even if it shares its engine with a model that does.
    plain, asking = compile_union([own, SPECS], PLAN)
    for features, flag in ((plain, 0), (asking, Flag.DEGRADED)):
        seen = observe(
            batch([event()]), PartitionRings(features), PLAN, features, terminals=TerminalTable()
        )
        assert seen.flags.tolist() == [flag]
        assert not math.isnan(features.compute(batch([event()]), seen.observed)[0, 0])


def test_terminals_lengthen_no_customers_memory() -> None:
    assert FEATURES.retention.horizon_ms == 31 * SECOND
    assert [need.window_ms for need in FEATURES.needs] == [0, 30 * SECOND, 0, 0, 0, 0]
    assert FEATURES.engine.delayed.memory_ms == 31 * SECOND
    assert FEATURES.engine.fields == ()
    assert (FEATURES.by_terminal, model(SPECS[1]).features.by_terminal) == (True, False)
