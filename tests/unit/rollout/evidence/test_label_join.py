"""The delayed join equals plain Python, over random streams, crashes and restarts."""

import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.labelling.contract import (
    FRAUD,
    GENUINE,
    UNKNOWN,
    LabelPolicy,
    Statements,
)
from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.rollout.evidence.label_join import LabelJoin
from stream_scorer.rollout.evidence.label_rows import NO_OUTCOME, PendingDecisions, Ripe
from tests.support.effort import examples

DAY = 86_400_000
HOUR = 3_600_000
MATURITY, SLACK = 7 * DAY, DAY


def decided(rows: Sequence[tuple[int, int, int]], *, bucket: int = 3) -> PendingDecisions:
    """Return (key, event time, offset) as decisions of arm offset % 3; the amount is the offset."""
    key, time, offset = np.array(rows, np.int64).reshape(-1, 3).T
    outcome = (offset % 2).astype(np.uint8)
    return PendingDecisions(
        key.astype(np.uint64), time, np.zeros(len(key), np.int32), offset,
        (offset % 3).astype(np.uint8), np.full(len(key), bucket), offset.astype(float),
        outcome, np.full(len(key), NO_OUTCOME, np.uint8), outcome, np.ones(len(key)),
        np.ones(len(key), np.bool_),
    )  # fmt: skip


def told(rows: Sequence[tuple[int, int, int, int, bool]], **changed: Any) -> Statements:
    """Return (key, event time, label time, offset, fraud) as statements."""
    key, time, known, offset, fraud = np.array(rows, np.int64).reshape(-1, 5).T
    n = len(key)
    columns: dict[str, Any] = {
        "match": key.astype(np.uint64), "event_time": time, "label_time": known,
        "state": fraud.astype(np.uint8), "rank": np.zeros(n, np.uint8),
        "label_id": np.zeros(n, np.uint64), "retracts": np.zeros(n, np.uint64),
        "drawn": np.full(n, np.nan), "partition": np.zeros(n, np.int32), "offset": offset,
    }  # fmt: skip
    return Statements(**{**columns, **changed})


def join(path: Path | None = None, **changed: Any) -> LabelJoin:
    options = {"identity": "a", "maturity_ms": MATURITY, "slack_ms": SLACK, "most_rows": 1_000}
    return LabelJoin(path, **{**options, **changed})


def frauds(ripe: Ripe) -> list[tuple[int, bool]]:
    fraud = ripe.state == FRAUD
    return list(zip(ripe.amount.astype(int).tolist(), fraud.tolist(), strict=True))


def test_a_decision_matures_once_after_maturity_and_slack() -> None:
    with join() as joining:
        joining.wait(decided([(1, 0, 10)]))
        joining.learn(told([(1, 0, MATURITY, 0, True)]))
        assert len(joining.mature(MATURITY + SLACK - 1)) == 0
        ripe = joining.mature(MATURITY + SLACK)
        assert frauds(ripe) == [(10, True)]
        assert (ripe.arm.tolist(), ripe.bucket.tolist(), ripe.outcome.tolist()) == ([1], [3], [0])
        assert ripe.shadow.tolist() == [NO_OUTCOME]
        assert ripe.event_time.tolist() == [0]
        assert len(joining.mature(MATURITY + 2 * SLACK)) == len(joining) == joining.labels == 0


def test_the_last_label_known_in_time_counts_in_any_order() -> None:
    labels = [(1, 0, 5, 1, True), (1, 0, 9, 2, False), (1, 0, MATURITY + 1, 3, True)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]):
        with join() as joining:
            for at in order:
                joining.learn(told([labels[at]]))
            joining.wait(decided([(1, 0, 10)]))
            assert frauds(joining.mature(MATURITY + SLACK)) == [(10, False)]
            assert joining.passed.after_cutoff == 1


def test_the_later_record_of_two_labels_known_together_counts() -> None:
    with join() as joining:
        joining.wait(decided([(1, 0, 10)]))
        joining.learn(told([(1, 0, 5, 8, True), (1, 0, 5, 7, False)]))
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, True)]


def test_without_a_label_in_time_a_decision_was_genuine() -> None:
    with join() as joining:
        joining.wait(decided([(1, 0, 10), (2, 0, 11)]))
        joining.learn(told([(2, 0, MATURITY + 1, 0, True)]))
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, False), (11, False)]


def test_a_label_counts_by_the_event_time_of_its_decision() -> None:
    with join() as joining:
        joining.wait(decided([(1, 0, 10), (2, 0, 11)]))
        joining.learn(told([(1, 5 * DAY, MATURITY + 1, 0, True), (2, 5 * DAY, MATURITY, 1, True)]))
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, False), (11, True)]


def test_a_label_after_its_decisions_maturity_is_not_kept() -> None:
    with join() as joining:
        joining.mature(MATURITY + SLACK)
        joining.learn(told([(1, 0, 5, 0, True), (2, 1, 5, 1, True)]))
        assert (joining.passed.late_labels, joining.labels) == (1, 1)


def test_an_unwatched_decision_matures_as_a_number_never_early() -> None:
    with join() as joining:
        joining.pass_by(np.array([0, 59_999, 60_000]))
        assert joining.mature(MATURITY + SLACK).others == 0
        assert joining.mature(MATURITY + SLACK + 59_999).others == 2
        assert joining.mature(MATURITY + SLACK + 119_999).others == 1
        assert joining.mature(2**50).others == 0


def test_minutes_that_a_stranger_names_are_bounded() -> None:
    with join(most_rows=3) as joining:
        joining.pass_by(np.array([0, 60_000]))
        joining.pass_by(np.arange(4) * 60_000 + 2**50)
        assert joining.passed.full == 3
        joining.pass_by(np.array([1, 2, 120_000]))
        assert joining.passed.full == 4
        joining.commit({})
        joining.pass_by(np.array([180_000]))
        assert joining.take_passed().full == 5
        joining.rollback()
        joining.pass_by(np.array([], np.int64))
        assert joining.passed.full == 0
        assert joining.mature(MATURITY + SLACK + 179_999).others == 5
        # Room is there again.
        joining.pass_by(np.arange(1, 5) * 60_000 + 2**50)
        assert joining.passed.full == 1
        assert joining.mature(2**51).others == 3


def test_the_cap_is_kept_and_what_it_costs_is_reported() -> None:
    with join(most_rows=2) as joining:
        joining.wait(decided([(1, 0, 1), (2, 0, 2), (3, 0, 3)]))
        joining.wait(decided([(4, 0, 4)]))
        assert (len(joining), joining.passed.full) == (2, 2)
        joining.learn(told([(1, 0, 1, 0, True), (8, 0, 1, 1, True), (9, 0, 1, 2, True)]))
        assert (joining.labels, joining.passed.full_labels) == (2, 1)
        joining.learn(told([(9, 0, 1, 3, True), (1, 0, 2, 4, False)]))
        assert (joining.labels, joining.passed.full_labels) == (2, 3)
        assert frauds(joining.mature(MATURITY + SLACK)) == [(1, True), (2, False)]
        joining.wait(decided([(5, DAY, 5)]))
        assert len(joining) == 1


def _blocked(rows: PendingDecisions, outcome: int, policy_outcome: int) -> PendingDecisions:
    n = len(rows)
    return replace(
        rows, outcome=np.full(n, outcome, np.uint8),
        policy_outcome=np.full(n, policy_outcome, np.uint8), propensity=np.full(n, 0.25),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "approved", "blocked"),
    [(LabelPolicy.absent(), GENUINE, GENUINE),
     (LabelPolicy("genuine", on=True), GENUINE, UNKNOWN),
     (LabelPolicy("ignore", on=True), UNKNOWN, UNKNOWN),
     (LabelPolicy("mature", after_ms=MATURITY, on=True), GENUINE, UNKNOWN),
     (LabelPolicy("mature", after_ms=MATURITY + 1, on=True), UNKNOWN, UNKNOWN)],
)  # fmt: skip
def test_a_block_without_a_label_is_unknown_under_every_policy(
    policy: LabelPolicy, approved: int, blocked: int
) -> None:
    with join(policy=policy) as joining:
        joining.wait(_blocked(decided([(1, 0, 1)]), 0, 0))
        joining.wait(_blocked(decided([(2, 0, 2)]), 2, 2))
        # Let through: it was approved, and it gets its label as any other approved one.
        joining.wait(_blocked(decided([(3, 0, 3)]), 0, 2))
        joining.wait(_blocked(decided([(4, 0, 4)]), 2, 2))
        joining.learn(told([(4, 0, 5, 0, True)]))
        ripe = joining.mature(MATURITY + SLACK)
    assert ripe.state.tolist() == [approved, blocked, approved, FRAUD]
    assert ripe.through.tolist() == [False, False, True, False]
    assert ripe.propensity.tolist() == [0.25] * 4


def test_a_better_source_and_a_retraction_decide_what_counts() -> None:
    stated = [(1, 0, 5, 0, True), (1, 0, 9, 1, False), (2, 0, 5, 2, True), (2, 0, 9, 3, False)]
    with join(policy=LabelPolicy("genuine", on=True)) as joining:
        joining.wait(decided([(1, 0, 10), (2, 0, 12)]))
        joining.learn(
            told(
                stated,
                rank=np.array([2, 1, 2, 2], np.uint8),
                label_id=np.array([0, 0, 77, 0], np.uint64),
                retracts=np.array([0, 0, 0, 77], np.uint64),
                drawn=np.array([np.nan, 0.5, np.nan, np.nan]),
            )
        )
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, True), (12, False)]


def test_a_transaction_cannot_fill_the_file_with_statements() -> None:
    with join() as joining:
        joining.wait(decided([(1, 0, 10)]))
        for at in range(0, 80, 20):
            rows = [(1, 0, 100 - k, k, k == 0) for k in range(at, at + 20)]
            joining.learn(told(rows, rank=np.full(20, at == 0, np.uint8)))
        assert joining.labels == 32
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, True)]
    with join() as joining:
        # One id again and again is one statement.
        rows = [(1, 0, 5, k, False) for k in range(40)]
        joining.learn(told(rows, label_id=np.full(40, 7, np.uint64)))
        assert joining.labels == 1


def test_uncommitted_changes_are_lost(tmp_path: Path) -> None:
    file = tmp_path / "join.sqlite"
    with join(file) as joining:
        joining.wait(decided([(1, 0, 10)]))
        joining.commit({("decisions", 0): 11}, {"state": b"ten"})
        joining.wait(decided([(2, 0, 11)]))
        joining.learn(told([(1, 0, 5, 0, True)]))
        joining.mature(MATURITY + SLACK)
        joining.rollback()
        assert (len(joining), joining.labels) == (1, 0)
        joining.wait(decided([(2, 0, 11)]))
        # Closing is like a crash: uncommitted changes are lost.
    with join(file) as joining:
        assert joining.places() == {("decisions", 0): 11}
        assert joining.note("state") == b"ten"
        assert len(joining) == 1
        joining.learn(told([(1, 0, 5, 0, True)]))
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, True)]
        joining.commit({("decisions", 0): 12})
    with join(file) as joining:
        assert joining.places() == {("decisions", 0): 12}
        assert len(joining) == 0
        # The maturity watermark is also kept over a restart.
        joining.learn(told([(1, 0, 5, 0, True)]))
        assert joining.passed.late_labels == 1


def test_a_row_that_comes_twice_is_there_once() -> None:
    with join() as joining:
        joining.wait(decided([(1, 0, 10)]))
        joining.wait(decided([(1, 0, 10), (1, 0, 11)]))
        assert frauds(joining.mature(MATURITY + SLACK)) == [(10, False), (11, False)]


def test_another_rollout_empties_the_file_and_keeps_the_places(tmp_path: Path) -> None:
    with join(tmp_path / "f") as joining:
        joining.wait(decided([(1, 0, 10)]))
        joining.learn(told([(1, 0, 5, 0, True)]))
        joining.commit({("decisions", 0): 11}, {"state": b"x"})
    with join(tmp_path / "f", identity="b") as joining:
        assert (len(joining), joining.labels, joining.note("state")) == (0, 0, None)
        assert joining.places() == {("decisions", 0): 11}


def test_two_processes_cannot_have_one_file(tmp_path: Path) -> None:
    with join(tmp_path / "f"), pytest.raises(StateError, match="another process has the file"):
        join(tmp_path / "f")


def test_a_damaged_file_and_one_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"no database, " * 400)
    with pytest.raises(StateError, match=r"f: file is not a database — remove the file"):
        join(tmp_path / "f")
    with join(tmp_path / "g"):
        pass
    base = sqlite3.connect(tmp_path / "g")
    base.execute("UPDATE notes SET value = CAST('3' AS BLOB) WHERE name = 'format'")
    base.commit()
    base.close()
    with pytest.raises(StateError, match=r"g: is of format 3, and this program reads 2"):
        join(tmp_path / "g")


OLD = """
CREATE TABLE pending (
    event_time INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    key INTEGER NOT NULL, arm INTEGER NOT NULL, bucket INTEGER NOT NULL, amount REAL NOT NULL,
    outcome INTEGER NOT NULL, shadow INTEGER NOT NULL,
    PRIMARY KEY (event_time, partition, offset)) WITHOUT ROWID;
CREATE TABLE labels (
    key INTEGER PRIMARY KEY, event_time INTEGER NOT NULL, label_time INTEGER NOT NULL,
    partition INTEGER NOT NULL, offset INTEGER NOT NULL, fraud INTEGER NOT NULL);
CREATE TABLE dated_labels (
    key INTEGER NOT NULL, event_time INTEGER NOT NULL, label_time INTEGER NOT NULL,
    partition INTEGER NOT NULL, offset INTEGER NOT NULL, fraud INTEGER NOT NULL,
    PRIMARY KEY (key, label_time, partition, offset)) WITHOUT ROWID;
CREATE TABLE others (event_time INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE places (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO pending VALUES (0, 0, 10, 1, 1, 3, 10.0, 2, 255), (0, 0, 11, -2, 0, 3, 11.0, 0, 255);
INSERT INTO labels VALUES (-2, 0, 5, 0, 1, 1);
INSERT INTO dated_labels VALUES (1, 86400000, 4, 0, 1, 1), (1, 86400000, 5, 0, 2, 0);
INSERT INTO places VALUES ('decisions', 0, 12);
INSERT INTO notes VALUES ('format', CAST('1' AS BLOB)), ('identity', CAST('a' AS BLOB)),
    ('edge', CAST('3' AS BLOB)), ('state', CAST('kept' AS BLOB));
"""
"""As the release before wrote it."""


def test_a_file_of_the_earlier_format_loses_nothing(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "f")
    base.executescript(OLD)
    base.close()
    for _ in range(2):
        with join(tmp_path / "f") as joining:
            assert (len(joining), joining.labels) == (2, 3)
            assert (joining.places(), joining.note("state")) == ({("decisions", 0): 12}, b"kept")
            ripe = joining.mature(MATURITY + SLACK)
            assert frauds(ripe) == [(10, False), (11, True)]
            assert ripe.policy_outcome.tolist() == ripe.outcome.tolist() == [2, 0]
            assert ripe.propensity.tolist() == [1.0, 1.0]
            assert ripe.inside.all()
            assert not ripe.through.any()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="unable to open database file — check the folder"):
        join(tmp_path / "nowhere" / "f")


@pytest.mark.parametrize(
    "wrong", [{"maturity_ms": -1}, {"slack_ms": -1}, {"most_rows": 0}], ids=lambda w: next(iter(w))
)
def test_limits_that_bound_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more, most_rows at least 1"):
        join(**wrong)


def _oracle(
    steps: Sequence[tuple[str, Any]], maturity: int, slack: int
) -> list[list[tuple[int, bool]]]:
    """Return what matures at each watermark, by looking at all records without an index."""
    pending: list[tuple[int, int, int]] = []
    labels: list[tuple[int, int, int, int, bool]] = []
    out, edge = [], -(2**62)
    for kind, what in steps:
        if kind == "decision":
            if what not in pending:
                pending.append(what)
        elif kind == "label":
            if what[1] + maturity + slack > edge and what[2] <= what[1] + maturity:
                labels.append(what)
        else:
            edge = max(edge, what)
            ripe = sorted(
                (row for row in pending if row[1] + maturity + slack <= edge),
                key=lambda row: (row[1], row[2]),
            )
            found = []
            for key, _, offset in ripe:
                own = [label for label in labels if label[0] == key]
                last = max(own, key=lambda label: (label[2], label[3]), default=None)
                found.append((offset, last is not None and last[4]))
            pending = [row for row in pending if row not in ripe]
            labels = [label for label in labels if label[1] + maturity + slack > edge]
            out.append(found)
    return out


KEYS = st.integers(0, 5)
STEP = st.one_of(
    st.tuples(st.just("decision"), KEYS),
    st.tuples(st.just("label"), st.tuples(KEYS, st.integers(0, 12), st.booleans())),
    st.tuples(st.just("watermark"), st.integers(0, 40)),
)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(STEP, max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_the_join_equals_plain_recomputation_through_crashes(
    drawn: list[tuple[str, Any]], crash: list[bool]
) -> None:
    steps: list[tuple[str, Any]] = []
    for offset, (kind, what) in enumerate(drawn):
        if kind == "decision":
            # A transaction has one event time, which here depends only on its key.
            steps.append((kind, (what, what * 3, offset)))
        elif kind == "label":
            key, delay, fraud = what
            steps.append((kind, (key, key * 3, key * 3 + delay, offset, fraud)))
        else:
            steps.append((kind, what))
    found = []
    with join(maturity_ms=8, slack_ms=2) as joining:

        def take(kind: str, what: Any) -> list[tuple[int, bool]] | None:
            if kind == "decision":
                joining.wait(decided([what]))
            elif kind == "label":
                joining.learn(told([what]))
            else:
                return frauds(joining.mature(what))
            return None

        for (kind, what), lost in zip(steps, crash, strict=False):
            if lost:
                take(kind, what)
                joining.rollback()
            ripe = take(kind, what)
            joining.commit({})
            if ripe is not None:
                found.append(ripe)
    assert found == _oracle(steps, 8, 2)


@st.composite
def dated_streams(draw: st.DrawFn) -> list[tuple[str, int, int, bool]]:
    """Return (what, key, hours, fraud): decisions, labels by their time, and watermarks."""
    found, mark = [], 0
    for _ in range(draw(st.integers(1, 32))):
        kind = draw(st.sampled_from(("decide", "tell", "tell", "mature")))
        if kind == "mature":
            mark += draw(st.integers(0, 100))
            found.append((kind, 0, mark, False))
        else:
            hours = mark + draw(st.integers(-30, 250))
            found.append((kind, draw(st.integers(0, 3)), hours, draw(st.booleans())))
    return found


@settings(max_examples=examples(150), deadline=None)
@given(dated_streams(), st.data())
def test_labels_without_an_event_time_are_judged_at_maturity(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, int, int, bool]],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("join") / "f"
    joining = join(path, by_time=False)
    waiting: dict[int, tuple[int, int]] = {}
    known: list[tuple[int, int, int, bool]] = []
    edge = -(2**62)
    for at, (kind, key, hours, fraud) in enumerate(records):
        time = hours * HOUR
        if kind == "decide":
            joining.wait(decided([(key, time, at)]))
            waiting[at] = (key, time)
        elif kind == "tell":
            # The label is kept for a day after it is known.
            joining.learn(told([(key, time + DAY, time, at, fraud)]))
            if time + DAY + MATURITY + SLACK > edge:
                known.append((key, time, at, fraud))
        else:
            edge = max(edge, time)
            ripe = joining.mature(time)
            expected = []
            for number, (own, when) in sorted(waiting.items(), key=lambda each: each[1][1]):
                if when + MATURITY + SLACK <= edge:
                    labels = [
                        label[1:] for label in known
                        if label[0] == own and label[1] - MATURITY <= when <= label[1] + DAY
                    ]  # fmt: skip
                    expected.append((number, bool(labels) and max(labels)[2]))
                    del waiting[number]
            assert sorted(frauds(ripe)) == sorted(expected)
            kept = sum(label[1] + DAY + MATURITY + SLACK > edge for label in known)
            assert joining.labels <= kept
        if data.draw(st.booleans()):
            joining.commit({})
            joining.close()
            joining = join(path, by_time=False)
    joining.close()


def test_labels_that_are_all_kept_have_a_cap() -> None:
    with join(by_time=False, most_rows=2) as joining:
        joining.learn(told([(1, DAY, 0, 0, True), (1, DAY, 1, 1, False), (2, DAY, 0, 2, True)]))
        assert joining.labels == 2
        assert joining.passed.full_labels == 1
        joining.learn(told([(3, DAY, 0, 3, True)]))
        assert joining.passed.full_labels == 2
        joining.mature(DAY + MATURITY + SLACK)
        assert joining.labels == 0


def test_many_labels_of_one_id_do_not_slow_its_decisions() -> None:
    count = 20_000
    with join(by_time=False, most_rows=count) as joining:
        joining.learn(told([(1, DAY, 0, at, True) for at in range(count)]))
        joining.wait(decided([(1, DAY + 1, at) for at in range(count)]))
        begun = time.thread_time()
        ripe = joining.mature(DAY + 1 + MATURITY + SLACK)
        assert len(ripe) == count
        assert not (ripe.state == FRAUD).any()
        assert time.thread_time() - begun < 5.0


def test_the_file_is_used_by_the_thread_that_opened_it() -> None:
    with join() as joining, ThreadPoolExecutor(1) as other:
        refused = other.submit(joining.note, "edge").exception()
    assert isinstance(refused, sqlite3.ProgrammingError)
