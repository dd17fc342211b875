"""Each window equals scikit-learn's on the joined table, wherever batches and restarts are."""

import dataclasses
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.performance.process.fold import DAY_MS
from stream_scorer.performance.store.store import PerformanceStore
from stream_scorer.telemetry import PerformanceFolded
from tests.oracle import performance as oracle
from tests.support.performance.simulated import (
    BLOCK,
    FRAUD,
    GENUINE,
    OPTIONS,
    DecisionRecord,
    K,
    LabelRecord,
    PerformanceWorld,
    StreamRecord,
    joined,
)

DAYS = 14


@st.composite
def streams(draw: st.DrawFn) -> list[StreamRecord]:
    """Draw decisions of two weeks with labels that are late, repeated, retracted, contradicting."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    found: list[tuple[float, StreamRecord]] = []
    for key in range(1, draw(st.integers(20, 60))):
        time = int(chance.integers(0, DAYS * DAY_MS))
        inside = bool(chance.random() < 0.5)
        outcome = int(chance.choice([0, 0, 1, 2]))
        through = bool(outcome == BLOCK and inside and chance.random() < 0.5)
        p = 1.0 if outcome != BLOCK or not inside else 0.25 if through else 0.75
        score = float(chance.choice([0.0, 0.2, 0.5, 0.9, 0.95, 1.0, np.nan]))
        card = int(chance.integers(0, 15)) * 0x9E3779B97F4A7C15 % 2**64
        decision = DecisionRecord(
            key, time, score, float(chance.integers(1, 500)), outcome, through, p, card=card
        )
        found.append((float(time), decision))
        for _ in range(int(chance.integers(0, 4))):
            known = time + int(chance.integers(0, 6)) * DAY_MS // 2
            label = LabelRecord(
                key, time, known, int(chance.integers(0, 4)),
                str(chance.choice(["bank", "bank", "customer", "shop"])),
            )  # fmt: skip
            name = {"bank": 1, "customer": 10, "shop": 20}[label.source] + 100 * key
            named = dataclasses.replace(label, label_id=name + int(chance.integers(0, 2)))
            if chance.random() < 0.3:
                named = dataclasses.replace(named, label_id=0, retracts=named.label_id)
            arrives = known + float(chance.exponential(0.5)) * DAY_MS
            found.append((arrives, named))
            if chance.random() < 0.2:
                found.append((arrives + DAY_MS, named))  # a copy
    ends = [(float(time * DAY_MS), DecisionRecord(900 + time, time * DAY_MS, card=1))
            for time in (0, DAYS, DAYS + 7)]  # fmt: skip
    return [record for _, record in sorted([*ends, *found], key=lambda each: each[0])]


@settings(max_examples=60, deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(1, 200), max_size=8), restart=st.booleans())
def test_windows_equal_the_joined_tables(
    stream: list[StreamRecord], cuts: list[int], *, restart: bool
) -> None:
    world = PerformanceWorld()
    edges = sorted({0, *(c for c in cuts if c < len(stream)), len(stream)})
    for first, last in pairwise(edges):
        world.give(stream[first:last], first)
        if restart:
            world.restart()
    checked = 0
    for kind, days in (("DAY", 1), ("WEEK", 7)):
        for measured in world.windows(kind):
            last_day = measured.key.end // DAY_MS - 1
            rows = joined(stream, last_day - days + 1, last_day)
            expected = oracle.measures(rows, K)
            for name, value in expected.items():
                found = measured.values[name]
                assert found == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name
            assert measured.rows == len(rows)
            assert measured.frauds == sum(row.fraud is True for row in rows)
            assert measured.unknown == sum(row.fraud is None for row in rows)
            checked += 1
    assert checked >= 2


def decision(key: int, day: float, **changes: Any) -> DecisionRecord:
    return dataclasses.replace(DecisionRecord(key, int(day * DAY_MS), card=key), **changes)


def label(key: int, day: float, known: float, state: int = FRAUD) -> LabelRecord:
    return LabelRecord(key, int(day * DAY_MS), int(known * DAY_MS), state)


def test_a_day_closes_at_maturity_and_slack() -> None:
    world = PerformanceWorld()
    world.give([decision(1, 0.5), decision(2, 5.04)])
    assert not world.windows("DAY")  # the watermark is an hour earlier
    world.give([decision(3, 5.05)], 2)
    (day,) = world.windows("DAY")
    assert (day.key.start, day.key.end, day.rows) == (0, DAY_MS, 1)


def test_a_label_after_maturity_changes_nothing() -> None:
    world = PerformanceWorld()
    world.give([
        decision(1, 0.5), decision(2, 0.5), label(1, 0.5, 3.4), label(2, 0.5, 3.6),
        decision(3, 6.0),
    ])  # fmt: skip
    (day,) = world.windows("DAY")
    assert (day.frauds, day.genuine) == (1, 1)


def test_late_records_are_counted_and_left_out() -> None:
    world = PerformanceWorld()
    world.give([decision(1, 0.5), decision(2, 6.0)])
    world.give([decision(3, 0.6), label(1, 0.5, 1.0), decision(4, 7.0)], 2)
    told = [each for each in world.told if isinstance(each, PerformanceFolded)]
    assert [(each.late, each.late_labels) for each in told] == [(0, 0), (1, 1)]
    assert len(world.windows("DAY")) == 1


def test_a_blocked_one_without_a_label_is_unknown() -> None:
    blocked = [decision(n, 0.5, outcome=BLOCK) for n in range(1, 5)]
    world = PerformanceWorld()
    world.give([*blocked, label(1, 0.5, 1.0), label(2, 0.5, 1.0, GENUINE), decision(9, 6.0)])
    (day,) = world.windows("DAY")
    assert (day.frauds, day.genuine, day.unknown) == (1, 1, 2)
    assert day.values["block_precision"] == 0.5
    assert day.outside == 0.5


def test_without_a_policy_all_is_as_before() -> None:
    world = PerformanceWorld(policies=lambda _: LabelPolicy.absent())
    world.give([decision(1, 0.5, outcome=BLOCK), decision(9, 6.0)])
    (day,) = world.windows("DAY")
    assert (day.genuine, day.unknown) == (1, 0)


def test_versions_and_arms_are_measured_apart() -> None:
    world = PerformanceWorld()
    world.give([
        decision(1, 0.5), decision(2, 0.5, version=1, arm=1), decision(3, 0.5, version=1),
        decision(9, 6.0),
    ])  # fmt: skip
    keys = [(each.key.version, each.key.arm) for each in world.windows("DAY")]
    assert keys == [("1", "champion"), ("2", "champion"), ("2", "canary")]


def test_segments_are_measured_apart() -> None:
    world = PerformanceWorld()
    world.names.segments += ["channel=POS", "channel=other"]
    world.give([
        decision(1, 0.5, segments=0b011), decision(2, 0.5, segments=0b101),
        decision(3, 0.5, segments=0b011), decision(9, 6.0),
    ])  # fmt: skip
    found = [(each.key.segment, each.rows) for each in world.windows("DAY")]
    assert found == [("all", 3), ("channel=POS", 2), ("channel=other", 1)]
    assert [each.key.segment for each in world.windows("WEEK")] == [name for name, _ in found]


def test_a_sample_of_customers_bounds_the_file() -> None:
    small = dataclasses.replace(OPTIONS, most_rows=1_000)
    chance = np.random.default_rng(1)
    cards = chance.integers(0, 2**63, 1_200)
    rows = [decision(n, 0.5, card=int(card)) for n, card in enumerate(cards, 1)]
    rows += [decision(n, 1.5, card=int(card)) for n, card in enumerate(cards, 5_000)]
    rows.append(decision(9_999, 9.0))
    whole, parts = PerformanceWorld(options=small), PerformanceWorld(options=small)
    whole.give(rows)
    for first in range(0, len(rows), 157):
        parts.give(rows[first : first + 157], first)
        parts.restart()
    for world in (whole, parts):
        day = world.windows("DAY")[0]
        assert day.sampled in (2, 4)
        assert day.rows < 1_000
        assert np.isnan(day.values["card_precision"])
        assert max(sum(world.store.sizes()[::2]), 1) <= 1_000
    assert [w.rows for w in whole.windows("WEEK")] == [w.rows for w in parts.windows("WEEK")]
    weeks = [w.calibration[:, 2].sum() for w in whole.windows("WEEK")]
    assert weeks == [w.calibration[:, 2].sum() for w in parts.windows("WEEK")]
    assert abs(weeks[-1] - 2_400) < 600  # the weights represent all customers


def test_drawn_rows_are_judged_at_their_age() -> None:
    world, chance = PerformanceWorld(), np.random.default_rng(4)
    rows: list[tuple[float, StreamRecord]] = []
    for day in range(47):
        for n in range(400):
            key, at = day * 1_000 + n, day + n / 400
            drawn, fraud = chance.random() < 0.2, chance.random() < (0.02 if day < 42 else 0.3)
            row = decision(key, at, drawn=drawn, pi=0.2, amount=100.0)
            # A fraud that was not drawn is known early, too: it counts only when it has matured.
            known = at + (0.4 if drawn else 0.1)
            rows.append((at, row))
            if fraud or drawn:
                rows.append((known, label(key, at, known, FRAUD if fraud else GENUINE)))
    world.give([row for _, row in sorted(rows, key=lambda each: each[0])])
    (warned,) = [each for closed in world.closed for each, _ in closed.warned]
    assert warned.klass == "powered"
    assert warned.onset // DAY_MS in {42, 43}
    closing = next(closed for closed in world.closed if closed.warned).closing
    assert closing <= 44 * DAY_MS + OPTIONS.review_ms


def test_the_file_is_used_by_the_thread_that_opened_it() -> None:
    with PerformanceStore(None) as store, ThreadPoolExecutor(1) as other:
        refused = other.submit(store.note, "format").exception()
    assert isinstance(refused, sqlite3.ProgrammingError)


def test_the_file_is_bound_to_one_process(tmp_path: Path) -> None:
    path = tmp_path / "performance.sqlite"
    with PerformanceStore(path) as store:
        world = PerformanceWorld(store=store)
        world.give([decision(1, 0.5), label(1, 0.5, 1.0)])
        world.give([decision(9, 6.0)], 2)
    with PerformanceStore(path) as store:
        assert store.places() == {("decisions", 0): 3}
        assert len(store.outbox()) == 2
        store.sent(store.outbox()[0].closing)
        assert len(store.outbox()) == 1
