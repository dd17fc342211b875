"""When the loop keeps a batch, undoes it, and stops."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import OFFSET_INVALID, KafkaException

from stream_scorer.errors import FencedError, OffsetsError, StateError, TransactionError
from stream_scorer.kafka.loop.attempts import Attempts, Note
from stream_scorer.kafka.loop.source import Assigned, Places, Revoked
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import NO_ROWS, LoopLimits, Result, Stages
from stream_scorer.ports import BytesColumn, Outgoing, Paused, RawRecords
from stream_scorer.telemetry import (
    BatchAborted,
    BatchCommitted,
    CommitSettled,
    DependencyBack,
    DependencyUnavailable,
    Event,
)
from tests.support.kafka.fake_broker import Clock
from tests.support.kafka.fake_cluster import ABORT, FENCED, RETRIABLE, Cluster


class FakeSource:
    """One partition with records at offsets 0 to ``end``, and the group's committed offset."""

    topic = "t"

    def __init__(self, end: int = 6) -> None:
        self.position = 0
        self.stable = 0
        self.sought: list[int] = []
        self.narrowed: list[frozenset[int]] = []
        self.owned = {0}
        self.doubled = False
        self.served = 0
        self._revoked_when_served = False
        self.before_revoke: Callable[[tuple[int, ...]], None] | None = None
        self.before_rebalance: Callable[[], None] | None = None
        self._end = end
        self._events: list[Assigned | Revoked] = [Assigned({0: 0}, frozenset())]

    def revoke(self) -> None:
        self._events.append(Revoked((0,), lost=False))

    @property
    def rebalanced(self) -> bool:
        return bool(self._events)

    def owns(self, partition: int) -> bool:
        return partition in self.owned

    def events(self) -> list[Assigned | Revoked]:
        events, self._events = self._events, []
        return events

    def settled(self, partitions: Iterable[int]) -> set[int]:
        waiting: set[int] = set()
        for event in self._events:
            waiting.update(event.offsets if isinstance(event, Assigned) else event.partitions)
        return (self.owned & set(partitions)) - waiting

    def interrupted(self, partitions: set[int]) -> bool:
        return any(isinstance(e, Revoked) and partitions & set(e.partitions) for e in self._events)

    def wait_for_revocation(self, partitions: set[int]) -> bool:
        return self.interrupted(partitions)

    def has_successor(self) -> bool:
        return self.doubled

    def poll(self, maximum: int, *_: float) -> RawRecords | None:
        n = min(maximum, self._end - self.position)
        if n == 0:
            return None
        offsets = np.arange(self.position, self.position + n)
        self.position += n
        return RawRecords(
            BytesColumn.of([b"v"] * n),
            BytesColumn.nulls(n),
            None,
            np.zeros(n, np.int32),
            offsets,
            offsets,
        )

    def seek(self, offsets: dict[int, int]) -> None:
        self.sought += offsets.values()
        self.position = offsets.get(0, self.position)

    def committed(self, _: set[int]) -> dict[int, int]:
        return {0: self.stable}

    def places(self, offsets: dict[int, int], notes: dict[int, bytes]) -> list[Places]:
        return [Places(self.topic, offsets, notes)]

    def group_metadata(self) -> object:
        return object()

    def serve(self, _: float) -> None:
        self.served += 1
        if self._revoked_when_served:
            self.revoke()

    def revoke_when_served(self) -> None:
        self._revoked_when_served = True

    @property
    def reading(self) -> set[int]:
        return {0}

    def narrow(self, partitions: frozenset[int]) -> None:
        self.narrowed.append(partitions)

    def pause(self) -> None: ...

    def resume(self, _: set[int] | None = None) -> None: ...

    def close(self) -> None: ...


class Adding:
    """Work whose state is the list of offsets that it has seen."""

    def __init__(self) -> None:
        self.state: list[int] = []
        self.pause = False
        self.flushed: list[tuple[set[int], list[int]]] = []
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def assigned(self, offsets: dict[int, int]) -> None: ...

    def revoked(self, partitions: tuple[int, ...]) -> None: ...

    def restoring(self) -> bool:
        return False

    def restore(self) -> set[int]:
        return set()

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[list[int]]:
        del quarantined
        stages.lap("decode")
        if self.pause:
            self.pause = False
            raise Paused("registry", "gone")
        delta = raw.offset.tolist()
        self.state += delta
        return Result([Outgoing("t", BytesColumn.of([b"v"]), BytesColumn.nulls(1))], delta)

    def keep(self, result: Result[list[int]], stages: Stages, raw: RawRecords) -> BatchCommitted:
        del stages
        return BatchCommitted(len(raw), {}, "m", "1", next_offsets={0: result.delta[-1] + 1})

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:
        self.flushed.append((partitions, list(self.state)))
        return [Outgoing("state", BytesColumn.of([b"s"]), BytesColumn.nulls(1))]

    def undo(self, result: Result[list[int]]) -> None:
        assert self.state[-len(result.delta) :] == result.delta, "undone out of order"
        del self.state[-len(result.delta) :]


class Scene:
    """A loop over fakes, with two records per batch."""

    def __init__(self, source: "FakeSource | None" = None) -> None:
        self.cluster = Cluster()
        self.source = source or FakeSource()
        self.work: Adding = Adding()
        self.loop = TransactionLoop(
            self.source,  # type: ignore[arg-type]  # it has what the loop calls
            self.cluster.producer(),
            self.work,
            LoopLimits(maximum_batch=2),
            self.cluster.heard.append,
        )

    def run(self) -> None:
        """Run until there is no more input."""
        quiet = 0

        def beat() -> None:
            nonlocal quiet
            quiet = quiet + 1 if self.source.position == 6 else 0
            if quiet > 3:
                self.loop.stop()

        self.loop.run(beat)

    def heard(self, kind: type) -> list[Any]:
        return [event for event in self.cluster.heard if isinstance(event, kind)]


@pytest.fixture(params=[False, True], ids=["late-offsets", "early-offsets"])
def scene(request: pytest.FixtureRequest) -> Scene:
    made = Scene()
    made.loop._limits.guarded = request.param
    return made


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return a loop that sends offsets while it computes, however long that takes."""
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._EARLY_SECONDS", 60.0)
    made = Scene()
    made.loop._limits.guarded, made.loop._limits.slow = True, 60.0
    return made


def test_each_batch_is_committed_and_reported_in_order(scene: Scene) -> None:
    scene.run()
    assert scene.work.state == list(range(6))
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}, {0: 4}, {0: 6}]


def test_an_abort_undoes_what_was_computed_on_top_of_it_too(scene: Scene) -> None:
    scene.cluster.raises["offsets"] = [ABORT]
    scene.run()
    assert scene.source.sought == [0]
    assert len(scene.heard(BatchAborted)) == 1
    assert scene.work.state == list(range(6))


def test_five_aborts_in_a_row_stop_it(scene: Scene) -> None:
    scene.cluster.raises["offsets"] = [ABORT] * 5
    with pytest.raises(TransactionError, match="5 transactions in a row were aborted: injected"):
        scene.run()
    assert scene.work.state == []


def test_four_aborts_do_not_stop_and_a_commit_resets_the_count(scene: Scene) -> None:
    scene.cluster.raises["offsets"] = [ABORT] * 4
    scene.run()
    assert scene.work.state == list(range(6))


@pytest.mark.parametrize(("stable", "happened"), [(2, True), (0, False)])
def test_an_uncertain_commit_is_settled_by_the_stable_offsets(
    scene: Scene, stable: int, happened: bool  # noqa: FBT001 a parameter of the table above
) -> None:  # fmt: skip
    scene.cluster.raises["commit"] = [RETRIABLE]
    scene.source.stable = stable
    clients: list[int] = []
    committed = scene.source.committed

    def ask(_: set[int]) -> dict[int, int]:
        clients.append(len(scene.cluster.clients))
        return committed(_)

    scene.source.committed = ask  # type: ignore[method-assign]  # records who asked
    scene.run()
    # A new client ended the old client's transaction before the offsets were read.
    assert clients == [2]
    assert scene.heard(CommitSettled) == [CommitSettled(committed=happened)]
    assert scene.source.sought == ([] if happened else [0])
    assert scene.work.state == list(range(6))


def test_offsets_that_are_neither_start_nor_end_stop_it(scene: Scene) -> None:
    scene.cluster.raises["commit"] = [RETRIABLE]
    scene.source.stable = 1
    with pytest.raises(OffsetsError, match="another process commits for this group"):
        scene.run()
    assert scene.work.state == []


def test_the_connections_of_the_work_are_closed_at_the_end(scene: Scene) -> None:
    scene.loop.stop()
    scene.loop.run()
    assert scene.work.closed == 1


def test_a_loop_that_fails_closes_the_connections_too(scene: Scene) -> None:
    def failing() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        scene.loop.run(failing)
    assert scene.work.closed == 1


def test_a_fenced_loop_leaves_with_nothing_kept(scene: Scene) -> None:
    scene.cluster.raises["commit"] = [FENCED]
    with pytest.raises(FencedError):
        scene.run()
    assert scene.work.state == []
    assert (0, "close") in scene.cluster.calls


def test_an_outage_is_reported_once_and_waited_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._RETRY_SECONDS", 0.01)
    scene.work.pause = True
    scene.run()
    assert scene.heard(DependencyUnavailable) == [DependencyUnavailable("registry", "gone")]
    assert scene.heard(DependencyBack) == [DependencyBack("registry")]
    assert scene.work.state == list(range(6))


def test_a_batch_of_a_revoked_partition_is_not_published(scene: Scene) -> None:
    compute = scene.work.compute

    def compute_and_revoke(raw: RawRecords, stages: Stages) -> Result[list[int]]:
        scene.source.revoke()
        scene.work.compute = compute  # type: ignore[method-assign]  # only the first time
        return compute(raw, stages)

    scene.work.compute = compute_and_revoke  # type: ignore[method-assign, assignment]  # revoke in between
    scene.loop.step()
    assert scene.work.state == []
    assert (0, "commit") not in scene.cluster.calls
    scene.loop.stop()
    scene.loop.run()


def during(scene: Scene, act: Callable[[], None]) -> None:
    """Let the next computation wait for what happens in it."""
    compute = scene.work.compute

    def computing(raw: RawRecords, stages: Stages) -> Result[list[int]]:
        scene.work.compute = compute  # type: ignore[method-assign]  # only this time
        result = compute(raw, stages)
        act()
        return result

    scene.work.compute = computing  # type: ignore[method-assign, assignment]  # waits


def transactions(scene: Scene) -> list[str]:
    return [name for _, name in scene.cluster.calls if name not in ("init", "poll", "close")]


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_offsets_are_sent_while_their_batch_is_computed(early: Scene) -> None:
    during(early, lambda: until(lambda: transactions(early) == ["begin", "offsets"]))
    early.loop.step()
    assert transactions(early) == ["begin", "offsets", "produce", "commit"]
    early.run()
    assert early.work.state == list(range(6))


def test_offsets_refused_meanwhile_undo_the_computation(early: Scene) -> None:
    early.cluster.raises["offsets"] = [ABORT]
    during(early, lambda: until(lambda: "offsets" in transactions(early)))
    early.loop.step()
    assert early.work.state == []
    assert early.source.sought == [0]
    assert transactions(early) == ["begin", "offsets", "abort"]
    early.run()
    assert early.work.state == list(range(6))


def test_a_batch_that_is_given_up_holds_no_transaction(early: Scene) -> None:
    """Its offsets were sent before its partition was revoked; they must not wait for an abort."""

    def lose() -> None:
        until(lambda: transactions(early) == ["begin", "offsets"])
        early.source.revoke()

    during(early, lose)
    early.loop.step()
    assert transactions(early) == ["begin", "offsets", "abort"]
    assert not early.loop._publisher.opened
    assert early.work.state == []
    early.loop.stop()
    early.loop.run()


def test_no_offsets_are_sent_of_a_revoked_partition(early: Scene) -> None:
    """Its partition is revoked before its computation begins, as while the one before it ends."""
    submit = early.loop._pool.submit

    def submit_and_revoke(*given: Any) -> Any:
        future = submit(*given)
        early.source.revoke()
        return future

    early.loop._pool.submit = submit_and_revoke  # type: ignore[method-assign, assignment]  # revoke first
    early.loop.step()
    early.loop._pool.submit = submit  # type: ignore[method-assign]  # as it was
    assert transactions(early) == []
    assert early.work.state == []
    early.loop.stop()
    early.loop.run()


def test_an_outage_holds_no_transaction(early: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._RETRY_SECONDS", 0.01)
    early.work.pause = True
    opened: list[bool] = []
    early.source.serve = lambda _: opened.append(early.loop._publisher.opened)  # type: ignore[method-assign]  # looks
    early.loop.step()
    assert opened
    assert not any(opened)
    assert transactions(early) == [
        "begin", "offsets", "abort", "begin", "offsets", "produce", "commit",
    ]  # fmt: skip
    early.run()
    assert early.work.state == list(range(6))


def test_a_slow_computation_holds_no_transaction(
    early: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._EARLY_SECONDS", 0.01)
    early.loop._limits.ahead = False
    during(early, lambda: until(lambda: "abort" in transactions(early)))
    early.loop.step()
    told = transactions(early)
    assert told == ["begin", "offsets", "abort", "begin", "offsets", "produce", "commit"]
    # The next batch is expected to be as slow.
    early.loop._computing_seconds = 0.2
    during(early, lambda: until(lambda: transactions(early) == told))
    early.loop.step()
    assert transactions(early)[len(told) :] == ["begin", "offsets", "produce", "commit"]
    early.run()
    assert early.work.state == list(range(6))


def test_a_slow_batch_ahead_is_waited_for_in_the_group(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delta before it is kept after its computation, so no report is waited for first."""
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._EARLY_SECONDS", 0.01)
    scene.loop._limits.slow = 0.02
    scene.loop.step()
    served: list[int] = []
    ends = time.monotonic() + 60

    def slow(computed: Result[list[int]]) -> Result[list[int]]:
        while not scene.source.served and time.monotonic() < ends:
            time.sleep(0.001)
        served.append(scene.source.served)
        return computed

    # The second batch is computed, and takes longer from here on; the delta is kept after that.
    assert scene.loop._ahead is not None
    assert scene.loop._ahead.future is not None
    scene.loop._ahead.future = scene.loop._pool.submit(slow, scene.loop._ahead.future.result())
    kept = scene.loop._kept
    assert kept is not None
    scene.loop._kept = scene.loop._pool.submit(kept.result)
    scene.loop.step()
    assert served
    assert served[0] > 0
    opened = [name for name in transactions(scene) if name in {"begin", "abort", "commit"}]
    early = ["begin", "abort"] if scene.loop._limits.guarded else []
    assert opened == ["begin", "commit", *early, "begin", "commit"]
    scene.run()
    assert scene.work.state == list(range(6))
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}, {0: 4}, {0: 6}]


def test_a_failure_while_it_waits_is_not_blamed_on_records(scene: Scene) -> None:
    """Nothing is searched for on top of a computation that is not over."""
    scene.loop._limits.slow = 0.01
    failed = threading.Event()

    def serve(_: float) -> None:
        if not failed.is_set():
            failed.set()
            raise ValueError("of the poll")

    scene.source.serve = serve  # type: ignore[method-assign]  # fails
    during(scene, lambda: until(failed.is_set))
    with pytest.raises(ValueError, match="of the poll"):
        scene.loop.step()
    assert scene.work.state == []
    assert "commit" not in transactions(scene)
    scene.loop._pool.shutdown()


@pytest.mark.parametrize(("raises", "reborn"), [([], []), ([RETRIABLE], ["abort: injected"])])
def test_no_offsets_stay_open_in_a_rebalance(
    early: Scene, raises: list[KafkaException], reborn: list[str]
) -> None:
    """If the abort is lost, a rebirth ends the transaction before others wait for it."""
    early.cluster.raises["abort"] = raises
    early.loop._publisher.open({0: 2})
    assert early.source.before_rebalance is not None
    early.source.before_rebalance()
    assert transactions(early) == ["begin", "offsets", "abort"]
    assert early.cluster.reborn == reborn
    early.run()
    assert early.work.state == list(range(6))


def test_a_flush_does_not_commit_the_offsets_of_a_batch_ahead(early: Scene) -> None:
    """A partition leaves after its batch's offsets were sent, in a poll ahead of the next."""
    source = RevokesWhilePolling()
    early.source = source
    early.loop._source = source  # type: ignore[assignment]  # it has what the loop calls
    early.loop._publisher._source = source  # type: ignore[assignment]  # likewise
    source.before_revoke = early.loop._flush
    for _ in range(2):
        early.loop.step()
    assert early.work.flushed == [({0}, [0, 1])]
    assert transactions(early) == [
        "begin", "offsets", "produce", "commit",
        "begin", "offsets", "abort", "begin", "offsets", "produce", "commit",
    ]  # fmt: skip
    assert early.work.state == [0, 1]
    early.loop.stop()
    early.loop.run()


class RevokesWhilePolling(FakeSource):
    """Its partition is revoked in the third poll, which is ahead of the second batch."""

    polls = 0

    def poll(self, maximum: int, *times: float) -> RawRecords | None:
        self.polls += 1
        if self.polls == 3:
            assert self.before_revoke is not None
            self.before_revoke((0,))
            self.revoke()
            self.owned.clear()
            return None
        return super().poll(maximum, *times)


def test_committed_state_is_flushed_before_its_partition_leaves() -> None:
    scene = Scene(RevokesWhilePolling())
    for _ in range(2):
        scene.loop.step()
    # The first batch is committed; the second was computed and is undone.
    assert scene.work.flushed == [({0}, [0, 1])]
    assert scene.work.state == [0, 1]
    assert scene.cluster.clients[0].produced == [("t", b"v"), ("state", b"s")]
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}]
    scene.loop.stop()
    scene.loop.run()


def test_what_runs_to_its_end_flushes_all_that_it_has_committed(scene: Scene) -> None:
    scene.run()
    assert scene.work.flushed == [({0}, list(range(6)))]
    assert scene.cluster.clients[0].produced[-1] == ("state", b"s")


def test_a_failed_flush_costs_nothing_but_is_reported(scene: Scene) -> None:
    flush = scene.work.flush

    def flush_and_fail(partitions: set[int]) -> Sequence[Outgoing]:
        scene.cluster.raises["offsets"] = [ABORT]
        return flush(partitions)

    scene.work.flush = flush_and_fail  # type: ignore[method-assign]  # fails when it is published
    scene.source.revoke_when_served()
    scene.run()
    assert [each.records for each in scene.heard(BatchAborted)] == [0]
    assert scene.work.state == list(range(6))
    assert scene.source.served == 1


def test_the_last_flush_is_tried_again_while_the_partitions_stay(scene: Scene) -> None:
    flush = scene.work.flush

    def flush_and_fail(partitions: set[int]) -> Sequence[Outgoing]:
        scene.cluster.raises["offsets"] = [ABORT, ABORT]
        return flush(partitions)

    scene.work.flush = flush_and_fail  # type: ignore[method-assign]  # fails when it is published
    scene.run()
    assert [each.records for each in scene.heard(BatchAborted)] == [0, 0]
    assert scene.work.flushed == [({0}, list(range(6)))]
    assert scene.source.served == 2
    assert scene.cluster.clients[-1].produced == [("state", b"s")]


def test_nothing_is_flushed_while_a_batch_is_being_computed() -> None:
    scene = Scene()
    compute = scene.work.compute
    begun, go_on = threading.Event(), threading.Event()

    def compute_slowly(raw: RawRecords, stages: Stages) -> Result[list[int]]:
        result = compute(raw, stages)
        begun.set()
        go_on.wait()
        return result

    def serve(_: float) -> None:
        assert begun.wait(60)
        assert scene.source.before_revoke is not None
        if not go_on.is_set():
            # The rings contain half of a batch that is not committed.
            scene.source.before_revoke((0,))
            scene.source.revoke()
            scene.source.owned.clear()
            go_on.set()

    scene.work.compute = compute_slowly  # type: ignore[method-assign, assignment]  # slower than the limit
    scene.source.serve = serve  # type: ignore[method-assign]  # the rebalance comes here
    scene.loop._limits.slow = 0.01
    scene.loop.step()
    assert scene.work.flushed == []
    assert scene.work.state == []
    scene.loop.stop()
    scene.loop.run()
    assert scene.work.flushed == []


@pytest.mark.parametrize("where", ["computing", "computed", "leaving"])
def test_a_graceful_exit_forgets_attempts(where: str) -> None:
    """Rebalances and restarts are not deaths: three of them must not stop the group."""
    scene = Scene()
    scene.loop._attempts = Attempts(guarded=True)
    notes: list[Mapping[int, bytes]] = []
    publish = scene.loop._publisher.publish

    def noting(*given: Any, **named: Any) -> bool:
        if "notes" in named:
            notes.append(named["notes"])
        return publish(*given, **named)

    scene.loop._publisher.publish = noting  # type: ignore[method-assign]  # records the notes

    def leave() -> None:
        assert scene.source.before_revoke is not None
        scene.source.before_revoke((0,))

    compute = scene.work.compute
    scene.loop._rebalance()

    def computing(raw: RawRecords, stages: Stages) -> Result[list[int]]:
        assert notes == [{0: Note(1, 2, 0).write()}]
        if where == "computing":
            leave()
        if where == "leaving":
            scene.loop.stop()
            raise Paused("registry", "gone")
        return compute(raw, stages)

    scene.work.compute = computing  # type: ignore[method-assign, assignment]  # leaves meanwhile
    if where == "computed":
        scene.loop._look_ahead = lambda _: leave()  # type: ignore[method-assign, assignment]  # in its poll
    if where == "leaving":
        scene.loop.run()
    else:
        scene.loop.step()
    # As if there had been no batch before.
    assert notes == [{0: Note(1, 2, 0).write()}, {0: b""}]


def test_a_commit_is_reported_before_its_partition_is_forgotten(scene: Scene) -> None:
    told: list[str] = []
    heard = scene.loop._listener

    def listen(event: Event) -> None:
        heard(event)
        if isinstance(event, BatchCommitted):
            told.append("committed")

    def revoked(partitions: tuple[int, ...]) -> None:
        told.append(f"revoked {partitions}")

    scene.loop._listener = listen
    scene.work.revoked = revoked  # type: ignore[method-assign]  # records when it is called
    scene.loop.step()
    # The first of three batches is committed, and reported together with the second.
    assert told == []
    scene.source.revoke()
    scene.loop._rebalance()
    assert told == ["committed", "revoked (0,)"]
    scene.loop._pool.shutdown()


def test_a_flush_skips_a_partition_lost_and_regained_unnoticed() -> None:
    scene = Scene()
    for _ in range(3):
        scene.loop.step()
    # Another process has continued, so this process's state of the partition is old.
    scene.source._events += [Revoked((0,), lost=False), Assigned({0: 9}, frozenset())]
    assert scene.source.before_revoke is not None
    scene.source.before_revoke((0,))
    assert scene.work.flushed == []
    scene.loop.stop()
    scene.loop.run()


class TwoPartitions(FakeSource):
    """Two records of each of two partitions, one partition per batch."""

    def __init__(self) -> None:
        super().__init__()
        self.owned = {0, 1}
        self.positions = {0: 0, 1: 0}
        self.sought_by_partition: list[dict[int, int]] = []
        self._events = [Assigned({0: 0, 1: 0}, frozenset())]

    def poll(self, maximum: int, *_: float) -> RawRecords | None:
        for partition, position in self.positions.items():
            if position < 2:
                n = min(maximum, 2 - position)
                self.positions[partition] += n
                offsets = np.arange(position, position + n)
                return RawRecords(
                    BytesColumn.of([b"v"] * n), BytesColumn.nulls(n), None,
                    np.full(n, partition, np.int32), offsets, offsets,
                )  # fmt: skip
        self.position = 6
        return None

    def seek(self, offsets: dict[int, int]) -> None:
        self.sought_by_partition.append(dict(offsets))
        self.positions |= offsets


class LosesTheOther(TwoPartitions):
    """Partition 0 moves to another member during a wait for a batch of partition 1."""

    def serve(self, _: float) -> None:
        if self.owned == {0, 1}:
            self.owned.discard(0)
            self._events.append(Revoked((0,), lost=False))


def test_offsets_of_a_partition_lost_in_a_wait_are_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._RETRY_SECONDS", 0.01)
    scene = Scene()
    source = LosesTheOther()
    scene.source = source
    scene.loop._source = source  # type: ignore[assignment]  # it has what the loop calls
    scene.loop.step()
    scene.work.pause = True
    real_step = scene.loop._wait_out

    def wait_out_and_stop() -> None:
        real_step()
        scene.loop.stop()

    scene.loop._wait_out = wait_out_and_stop  # type: ignore[method-assign]  # a signal meanwhile
    scene.loop.run()
    assert [partitions for partitions, _ in scene.work.flushed] == [{1}]


def test_a_partition_regained_in_a_wait_keeps_its_new_offset() -> None:
    scene = Scene()
    source = TwoPartitions()
    scene.source = source
    scene.loop._source = source  # type: ignore[assignment]  # it has what the loop calls
    begin = scene.loop._producer.begin

    def begin_late(stop: Callable[[], bool] = lambda: False) -> None:
        # Another process decided up to offset 9 and gave the partition back, within one wait.
        source._events += [Revoked((0,), lost=False), Assigned({0: 9}, frozenset())]
        scene.loop._producer.begin = begin  # type: ignore[method-assign]  # once
        scene.cluster.raises["begin"] = [ABORT]
        begin(stop)

    scene.loop._producer.begin = begin_late  # type: ignore[method-assign]  # see above
    scene.loop.step()
    assert source.sought_by_partition == [{1: 0}]
    scene.loop.stop()
    scene.loop.run()


def test_an_abort_rereads_the_partitions_of_the_batch_ahead_too() -> None:
    scene = Scene()
    source = TwoPartitions()
    scene.source = source
    scene.loop._source = source  # type: ignore[assignment]  # it has what the loop calls
    scene.cluster.raises["offsets"] = [ABORT]
    scene.run()
    assert source.sought_by_partition == [{0: 0, 1: 0}]
    assert sorted(scene.work.state) == [0, 0, 1, 1]


def test_the_heart_beats_while_an_outage_is_waited_for(scene: Scene) -> None:
    scene.work.pause = True
    beats: list[bool] = []

    def beat() -> None:
        waiting = len(scene.heard(DependencyUnavailable)) > len(scene.heard(DependencyBack))
        beats.append(waiting)
        if scene.heard(DependencyBack):
            scene.loop.stop()

    scene.loop.run(beat)
    assert sum(beats) > 3


class Restoring(Adding):
    """Work whose partition is complete after a few steps, or is refused."""

    def __init__(self, steps: int = 2, refusal: Exception | None = None) -> None:
        super().__init__()
        self._left = steps
        self._refusal = refusal

    def restoring(self) -> bool:
        return self._left > 0

    def restore(self) -> set[int]:
        self._left -= 1
        if self._left == 0 and self._refusal is not None:
            raise self._refusal
        return set() if self._left else {0}


@pytest.fixture
def first() -> Scene:
    """Return a loop over fakes whose group has no offset yet."""
    scene = Scene()
    scene.source._events = [Assigned({0: 0}, frozenset({0}))]
    scene.loop._work = scene.work = Restoring()
    resumed = scene.source.resume

    def resume(_: set[int] | None = None) -> None:
        scene.cluster.calls.append((-1, f"resume {_}"))
        resumed(_)

    scene.source.resume = resume  # type: ignore[method-assign]  # records when
    scene.source.position = 6
    return scene


def steps(scene: Scene, count: int) -> list[str]:
    """Take steps; return the calls to the cluster and the source, in order."""
    for _ in range(count):
        scene.loop.step()
    told = [method for _, method in scene.cluster.calls if method not in ("init", "poll", "close")]
    scene.cluster.calls.clear()
    return told


def test_a_first_offset_is_committed_once_its_partition_is_ready(first: Scene) -> None:
    assert steps(first, 1) == []
    assert steps(first, 1) == ["begin", "offsets", "commit", "resume {0}"]
    assert steps(first, 1) == []
    first.loop.stop()
    first.loop.run()
    assert first.work.flushed == [({0}, [])]


def test_an_uncommitted_first_offset_is_retried_after_a_poll(first: Scene) -> None:
    first.cluster.raises["offsets"] = [ABORT]
    assert steps(first, 2) == ["begin", "offsets", "abort"]
    assert steps(first, 1) == ["begin", "offsets", "commit", "resume {0}"]
    first.cluster.raises["offsets"] = []
    first.loop.stop()
    first.loop.run()


def test_a_backlog_elsewhere_does_not_delay_a_first_offset(first: Scene) -> None:
    source = TwoPartitions()
    source._events = [Assigned({0: 0, 1: 0}, frozenset({0}))]
    source.positions = {1: -8}  # nothing comes of partition 0 before it is resumed
    first.source = source
    first.loop._source = source  # type: ignore[assignment]  # it has what the loop calls
    first.loop._publisher._source = source  # type: ignore[assignment]  # likewise
    steps(first, 1)
    first.cluster.raises["offsets"] = [ABORT]
    steps(first, 1)
    assert first.loop._fresh == {0: 0}
    steps(first, 1)
    assert first.loop._fresh == {}
    first.loop.stop()
    first.loop.run()


@pytest.mark.parametrize(("stable", "commits"), [(0, 1), (OFFSET_INVALID, 2)])
def test_a_first_commit_without_an_answer_is_settled(
    first: Scene, stable: int, commits: int
) -> None:
    first.cluster.raises["commit"] = [RETRIABLE]
    first.source.stable = stable
    told = steps(first, 3)
    assert told.count("commit") == commits
    assert told[-1] == "resume {0}"
    first.loop.stop()
    first.loop.run()


def test_what_is_refused_leaves_no_first_offset(first: Scene) -> None:
    first.loop._work = first.work = Restoring(refusal=StateError("buckets exist", "find out why"))
    with pytest.raises(StateError, match="buckets exist"):
        first.loop.run()
    assert "begin" not in [method for _, method in first.cluster.calls]


def test_a_partition_revoked_before_it_is_ready_commits_nothing(first: Scene) -> None:
    assert steps(first, 1) == []
    assert first.source.before_revoke is not None
    first.source.before_revoke((0,))
    first.source.revoke()
    first.source.owned = set()
    first.work.restoring = lambda: False  # type: ignore[method-assign]  # its restore is abandoned
    assert steps(first, 2) == []
    assert first.work.flushed == []
    first.loop.stop()
    first.loop.run()
    assert first.work.flushed == []


def test_a_suspected_partition_is_read_alone_unless_it_is_silent() -> None:
    scene = Scene()
    scene.loop._attempts = Attempts(guarded=True)
    scene.source._events = [Assigned({0: 0}, frozenset(), {0: Note(2, 500, 1).write()})]
    for _ in range(9):
        scene.loop.step()
    alone, everything = frozenset({0}), frozenset[int]()
    # Six records, one by one; then nothing comes, so all are read every second time.
    assert scene.source.narrowed == [*[alone] * 7, everything, alone]
    assert scene.work.state == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("pauses", "lingers"),
    [
        # Immediately after a batch, a batch waits for more records; later on, less or not at all.
        ((0.0, 0.0), (0.0, 4.0, 4.0)),
        ((1.0, 3.0), (0.0, 3.0, 1.0)),
        ((4.0, 60.0), (0.0, 0.0, 0.0)),
    ],
)
def test_a_batch_lingers_only_soon_after_the_one_before(
    pauses: tuple[float, ...], lingers: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction.time", clock)
    scene = Scene()
    scene.loop._limits.linger, scene.loop._limits.ahead = 4.0, False
    found: list[float] = []
    poll = scene.source.poll

    def polling(maximum: int, linger: float, wait: float) -> RawRecords | None:
        found.append(linger)
        return poll(maximum, linger, wait)

    scene.source.poll = polling  # type: ignore[method-assign, assignment]  # notes the linger
    for pause in (*pauses, 0.0):
        scene.loop.step()
        clock.sleep(pause)
    assert tuple(found) == lingers
    scene.loop.stop()
    scene.loop.run()


def test_a_commit_is_reported_when_the_next_batch_is_computed(scene: Scene) -> None:
    """A report costs time, for which no polled record waits."""
    scene.loop._limits.ahead = False
    keeping, kept = threading.Event(), scene.work.keep

    def keep(result: Result[list[int]], stages: Stages, raw: RawRecords) -> BatchCommitted:
        assert keeping.wait(60)
        return kept(result, stages, raw)

    scene.work.keep = keep  # type: ignore[method-assign]  # waits for the next poll
    poll = scene.source.poll

    def polling(maximum: int, *times: float) -> RawRecords | None:
        if scene.source.position:
            keeping.set()
        return poll(maximum, *times)

    scene.source.poll = polling  # type: ignore[method-assign]  # notes the second one
    scene.loop.step()
    assert scene.heard(BatchCommitted) == []
    scene.loop.step()
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}]
    scene.run()
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}, {0: 4}, {0: 6}]


def test_a_commit_is_reported_when_nothing_follows(scene: Scene) -> None:
    scene.loop._limits.ahead = False
    for _ in range(4):
        scene.loop.step()
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}, {0: 4}, {0: 6}]
    scene.loop.stop()
    scene.loop.run()


class OneByOne(FakeSource):
    """A record comes with each poll."""

    def poll(self, maximum: int, *times: float) -> RawRecords | None:
        return super().poll(min(maximum, 1), *times)


@pytest.mark.parametrize(
    ("computing", "committing", "ahead"), [(0.4, 0.3, True), (0.3, 0.3, False), (0.0, 0.3, False)]
)
def test_small_batches_look_ahead_if_computing_takes_longer(
    computing: float,
    committing: float,
    ahead: bool,  # noqa: FBT001 a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(OneByOne())
    monkeypatch.setattr(Stages, "computing_seconds", lambda _: computing)
    for _ in range(3):
        scene.loop._committing_seconds = committing
        scene.loop.step()
        assert (scene.loop._ahead is not None) is ahead
    scene.run()
    assert scene.work.state == list(range(6))


def test_an_abort_undoes_a_small_batch_ahead_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(OneByOne())
    monkeypatch.setattr(Stages, "computing_seconds", lambda _: 9.0)
    scene.loop._committing_seconds = 0.0
    scene.cluster.raises["commit"] = [ABORT]
    scene.loop.step()
    assert scene.source.position == 0
    assert scene.work.state == []
    scene.run()
    assert scene.work.state == list(range(6))
