"""A device decides offline, as the stream decides, and remembers what it has decided."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch, Flag, Outcome
from stream_scorer.edge.claims.chain import chained, is_signed
from stream_scorer.edge.claims.contract import NO_CHAIN
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.device.decide import RecordDecider, RecordRejected
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.device.recent import RecentAnswers
from stream_scorer.edge.device.scorer import DeviceRefused
from stream_scorer.edge.device.state import FolderLock
from stream_scorer.errors import EdgeError
from tests.support.device.device_world import DEVICE, NOW, DeviceWorld, Record, record


def expected(world: DeviceWorld, records: Sequence[Record]) -> list[tuple[bytes, float, int]]:
    """Return features, score and outcome of each record, by one batch of the core."""
    release = world.release
    reader = RecordDecider(release, DeviceHistory(release.model.features))
    read = [reader.read(each.value, world.wall()) for each in records]
    joined = pa.Table.from_batches([each.events.records for each in read]).combine_chunks()
    count = len(read)
    events = EventBatch(
        joined.to_batches()[0], np.zeros(count, np.int32), np.arange(count),
        np.full(count, world.wall()),
    )  # fmt: skip
    rings = PartitionRings(release.model.features)
    decisions = decide_alone(events, rings, release.model, release.plan).decided[0].decisions
    features = [row.tobytes() for row in decisions.features]
    return list(zip(features, decisions.score.tolist(), decisions.outcome.tolist(), strict=True))


def test_a_device_decides_as_the_core_does(world: DeviceWorld) -> None:
    records = [record(number, customers=3) for number in range(40)]
    with world.scorer() as scorer:
        answers = [scorer.decide(each) for each in records]
    found = world.state()
    rows = found.outbox.first(100)
    found.close()
    decisions = [decode_decision(each.row.decision) for each in rows]
    wanted = expected(world, records)
    assert [(d.features, d.score, int(d.outcome)) for d in decisions] == wanted
    assert [(a.score, int(a.outcome)) for a in answers] == [each[1:] for each in wanted]
    assert [each.sequence for each in answers] == list(range(1, 41))
    assert all(d.release == "fraud:1.0.1" and d.flags == 0 for d in decisions)


def test_rows_are_chained_and_signed(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        for number in range(5):
            scorer.decide(record(number))
    state = world.state()
    chain = NO_CHAIN
    for event in state.outbox.first(10):
        assert event.row.previous == chain
        assert is_signed(event.row, DEVICE, world.key.public_key())
        chain = chained(chain, DEVICE, event.row)
    assert (state.history.sequence, state.history.chain) == (5, chain)
    state.close()


def test_a_repeat_gets_the_first_answer_also_after_a_restart(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        first = scorer.decide(record(1))
        assert scorer.decide(record(1)) == first
    with world.scorer() as scorer:
        assert scorer.decide(record(1)) == first
        with pytest.raises(DeviceRefused, match="another-body"):
            scorer.decide(record(1, amount_minor=5))
        assert scorer.decide(record(2)).sequence == 2


def test_a_rejected_record_changes_nothing(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        scorer.decide(record(1))
        for wrong, reason in (
            (record(2, currency="XXX"), "CURRENCY"),
            (record(2, event_time=world.wall() + 10**9), "TIME_AHEAD"),
            (Record(b"\0\0\0\0\1x", bytes(16)), "MALFORMED"),
        ):
            with pytest.raises(RecordRejected) as refused:
                scorer.decide(wrong)
            assert refused.value.reason == reason
        # Its id was not used up.
        assert scorer.decide(record(2)).sequence == 2


def test_an_id_beyond_the_kept_answers_is_a_duplicate(world: DeviceWorld) -> None:
    state = world.state()
    state.history.recent = RecentAnswers(2)
    with world.scorer(state) as scorer:
        for number in range(3):
            scorer.decide(record(number))
        with pytest.raises(RecordRejected, match="DUPLICATE"):
            scorer.decide(record(0))


def test_requests_that_wait_together_share_a_write(world: DeviceWorld) -> None:
    synced: list[str] = []
    writes, gate = threading.Event(), threading.Event()

    def hook(step: str) -> None:
        if step == "before append":
            writes.set()
            gate.wait(60)
        if step == "synced":
            synced.append(step)

    with world.scorer(world.state(hook)) as scorer:
        waiting = [scorer.submit(record(0))]
        assert writes.wait(60)
        waiting += [scorer.submit(record(number)) for number in range(1, 6)]
        gate.set()
        answers = [each.result(60) for each in waiting]
    assert [each.sequence for each in answers] == list(range(1, 7))
    # The first one, and all that came while it was written.
    assert len(synced) == 2


def test_a_clock_that_goes_back_changes_nothing_but_the_stamp(world: DeviceWorld) -> None:
    now = [NOW + 2_000_000_000]
    world.wall = lambda: now[0]
    with world.scorer() as scorer:
        before = scorer.decide(record(0, customers=1))
        now[0] -= 3_600_000
        after = scorer.decide(record(1, customers=1))
    assert (before.decided_at, after.decided_at) == (NOW + 2_000_000_000,) * 2
    with world.scorer() as scorer:
        assert scorer.decide(record(2, customers=1)).decided_at == NOW + 2_000_000_000
    state = world.state()
    wanted = expected(world, [record(number, customers=1) for number in range(3)])
    found = [decode_decision(each.row.decision).features for each in state.outbox.first(9)]
    assert found == [features for features, _, _ in wanted]
    state.close()


def test_a_device_without_history_needs_consent(world: DeviceWorld) -> None:
    with pytest.raises(EdgeError, match="look back 30 days"):
        world.state(seed=None)
    state = world.state(seed=None, accept_cold=True)
    with world.scorer(state) as scorer:
        assert scorer.decide(record(0)).flags == Flag.DEGRADED
    # Also after a restart, until the longest window has passed.
    with world.scorer() as scorer:
        assert scorer.decide(record(1)).flags == Flag.DEGRADED
        later = world.wall() + 31 * 86_400_000
        world.wall = lambda: later
    with world.scorer() as scorer:
        assert scorer.decide(record(2, event_time=later)).flags == 0


def test_a_second_process_is_kept_out(world: DeviceWorld, tmp_path: Path) -> None:
    with FolderLock(tmp_path / "own"), pytest.raises(EdgeError, match="another process"):
        FolderLock(tmp_path / "own")
    with FolderLock(tmp_path / "own"):
        assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


def test_outcomes_are_those_of_the_answer(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        answer = scorer.decide(record(0, amount_minor=90_000_000))
    assert answer.outcome in {Outcome.REVIEW, Outcome.BLOCK}
    assert answer.reasons
