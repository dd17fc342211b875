"""Engine 2 leaves unknown rows out of a risk and counts them; engine 1 is as before."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.features.compile import compile_features, compile_together
from stream_scorer.core.features.engines import ENGINES, engine_of
from stream_scorer.core.kernels.terminals import ROWS_MOST
from stream_scorer.core.labelling.contract import DISPUTED, FRAUD, GENUINE, UNKNOWN
from stream_scorer.core.terminals import history
from stream_scorer.core.terminals.history import TerminalTable
from tests.support.effort import examples

SECOND = 1_000
PLAN = Plan(terminal_delay_ms=10 * SECOND, terminal_slack_ms=SECOND, lateness_ms=0)
AT = {"key": "terminal_id", "delay": "10s", "window": "20s"}
SPECS = (
    {"name": "COUNT", "kind": "count", **AT}, {"name": "RISK", "kind": "risk", **AT},
    {"name": "MINE", "kind": "count", "window": "1d"},
    {"name": "RATIO", "kind": "ratio", "field": "amount", "to": "RISK"},
)  # fmt: skip
Row = tuple[int, int]
rows = st.lists(st.tuples(st.integers(0, 60 * SECOND), st.integers(GENUINE, DISPUTED)), max_size=60)


def seen(known: list[Row], cuts: list[int], at: int, engine: int, edge: int) -> list[float]:
    table = TerminalTable()
    edges = [0, *sorted(min(cut, len(known)) for cut in cuts), len(known)]
    for first, last in pairwise(edges):
        piece = known[first:last]
        table.add(
            pa.array(["x"] * len(piece), pa.string()),
            np.array([time for time, _ in piece], np.int64),
            np.array([state for _, state in piece], np.uint8),
        )
    table.watermark = 60 * SECOND
    table.evict(edge)
    delayed = compile_features(SPECS[:2], PLAN, engine).engine.delayed
    out = np.full((1, 2), np.nan)
    table.observe(delayed, pa.array(["x"]), np.array([at]), out)
    return out[0].tolist()


@settings(max_examples=examples(300), deadline=None)
@given(rows, st.lists(st.integers(0, 60), max_size=4), st.integers(0, 90 * SECOND), st.booleans())
def test_the_packed_counts_equal_three_arrays(
    known: list[Row],
    cuts: list[int],
    at: int,
    evicts: bool,  # noqa: FBT001 a drawn value
) -> None:
    first = at - 30 * SECOND
    mine = [state for time, state in known if first < time <= at - 10 * SECOND]
    frauds, unknown = mine.count(FRAUD), mine.count(UNKNOWN) + mine.count(DISPUTED)
    for engine, of in ((1, len(mine)), (2, len(mine) - unknown)):
        told = seen(known, cuts, at, engine, first if evicts else -1)
        assert told == [len(mine), frauds / of if of else 0.0]


def test_a_table_takes_no_more_rows_than_it_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROWS_MOST == 2**31 - 1
    monkeypatch.setattr(history, "ROWS_MOST", 3)
    table = TerminalTable()
    table.add(pa.array(["x"] * 3), np.arange(3), np.array([GENUINE, FRAUD, UNKNOWN], np.uint8))
    with pytest.raises(ValueError, match="at most 3 rows"):
        table.add(pa.array(["x"]), np.arange(1), np.zeros(1, np.uint8))


def test_only_features_of_a_risk_have_another_identity() -> None:
    one, two, three = (compile_features(SPECS, PLAN, engine) for engine in ENGINES)
    assert (one.version, two.version, three.version) == (1, 2, 3)
    assert three.identities == two.identities
    same = [mine == its for mine, its in zip(one.identities, two.identities, strict=True)]
    # A ratio to a risk is another one, too.
    assert same == [True, False, True, False]
    assert compile_features(SPECS, PLAN).identities == one.identities


def test_engines_share_rings_and_each_has_its_risk() -> None:
    one, two = compile_together([(SPECS, PLAN), (SPECS, PLAN)], engines=[1, 2])
    assert one.engine is two.engine
    # Count, and both risks.
    assert len(one.engine.delayed) == 3
    assert not compile_features(SPECS, PLAN).engine.lacks(compile_features(SPECS, PLAN, 2).engine)


def test_a_training_uses_engine_2_under_a_label_policy() -> None:
    assert engine_of(PLAN) == 1
    assert engine_of(plan_from({"label_policy": {"unlabelled": "genuine"}})) == 2
