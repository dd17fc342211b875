"""Which process is fenced: by its own late request, by its own slowness, or by a namesake.

The real loop runs against the fake broker, step by step. The model in test_loop_model.py found
these cases.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import pytest

from stream_scorer.errors import FencedError
from stream_scorer.kafka.membership.fencing import OwnDoing
from stream_scorer.telemetry import BatchAborted, ProducerReborn
from tests.support.kafka.fake_network import Api, Fault, Sign
from tests.support.kafka.loop_world import (
    GROUP,
    INPUT,
    SOCKET_SECONDS,
    TIMEOUT_SECONDS,
    Process,
    World,
)

STAGES: list[Api] = ["partitions", "produce", "offsets", "offset_commit", "end"]
LATE = "its own late request raised the epoch"


@pytest.fixture(params=[False, True], ids=["late-offsets", "early-offsets"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World()
    made.early = request.param
    yield made
    made.close()


def settled(world: World, instance: str = "a") -> Process:
    """Return a process that reads both partitions and has decided all records."""
    process = world.start(instance)
    world.feed(0, 2)
    for _ in range(3):
        world.step(process)
    assert world.committed() == {0: 2, 1: 0}
    return process


def born_late(world: World, process: Process, sign: Sign) -> None:
    """Let the process be reborn while its request for an epoch is still under way."""
    process.network.plan[:] = [Fault("produce", "answer lost"), Fault("init", "held", sign)]
    for _ in range(2):
        world.feed(0, 1)
        world.step(process)
    assert len(world.held) == 1
    assert process.producer.births == 2


def reborn(process: Process) -> list[str]:
    return [each.cause for each in process.heard if isinstance(each, ProducerReborn)]


@pytest.mark.parametrize("sign", ["reset", "timeout", "quiet"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_late_birth_of_the_own_process_is_not_a_takeover(
    world: World, stage: Api, sign: Sign
) -> None:
    process = settled(world)
    born_late(world, process, sign)
    world.feed(0, 1)
    process.network.plan[:] = [Fault(stage, "released")]
    world.step(process)
    world.settle()
    assert process.ended is None
    assert process.producer.births == 3


def test_a_late_birth_between_two_transactions_is_not_a_takeover(world: World) -> None:
    process = settled(world)
    born_late(world, process, "reset")
    world.release()
    world.settle()
    world.feed(0, 1)
    world.settle()
    assert process.ended is None
    assert LATE in reborn(process)


def test_it_explains_one_fencing_and_the_next_is_a_takeover(world: World) -> None:
    process = settled(world)
    born_late(world, process, "reset")
    # The held request never arrives. Of this fencing, it cannot be known that it is another's.
    world.held.clear()
    second = world.start("a")
    world.feed(0, 1)
    world.step(process)
    assert process.ended is None
    world.step(process)
    third = world.start("a")
    world.feed(0, 1)
    world.step(process)
    assert isinstance(process.ended, FencedError)
    world.settle()
    assert third.ended is None
    assert second.ended is None or isinstance(second.ended, FencedError)


def test_without_a_missing_answer_nothing_is_explained() -> None:
    own = OwnDoing(SOCKET_SECONDS, TIMEOUT_SECONDS)
    own.born(SOCKET_SECONDS - 0.1, 0)
    assert not own.explains(TIMEOUT_SECONDS - 0.1)
    assert own.explains(TIMEOUT_SECONDS)
    # The explanation stays valid until the next birth.
    assert own.explains(0.0)
    own.born(0.0, 0)
    assert not own.explains(0.0)


@pytest.mark.parametrize(("seconds", "broken", "times"), [(6.5, 0, 2), (0, 1, 1), (6, 3, 3)])
def test_each_answer_that_is_missing_explains_once(seconds: float, broken: int, times: int) -> None:
    own = OwnDoing(SOCKET_SECONDS, TIMEOUT_SECONDS)
    own.born(seconds, broken)
    for _ in range(times):
        assert own.explains(0.0)
        assert own.cause == LATE
        own.born(0.0, 0)
    assert not own.explains(0.0)


def test_an_outage_explains_a_fence_only_for_a_limited_time() -> None:
    own = OwnDoing(SOCKET_SECONDS, TIMEOUT_SECONDS)
    own.born(3_600.0, 500)
    explained = []
    for _ in range(10):
        explained.append(own.explains(0.0))
        own.born(0.0, 0)
    assert explained == [True] * 5 + [False] * 5


def meanwhile(world: World, process: Process, instance: str, steps: int) -> None:
    """The process is suspended past both limits, and another one continues."""
    world.clock.sleep(TIMEOUT_SECONDS + 1.0)
    world.broker.groups[GROUP].drop(process.member)
    other = world.start(instance)
    for _ in range(steps):
        world.step(other)


def stand_still_in_a_commit(world: World, instance: str, steps: int) -> tuple[Process, Process]:
    """Suspend a process in its commit while another one continues; return both."""
    process = settled(world)
    world.feed(0, 7)
    still = partial(meanwhile, world, process, instance, steps)
    process.network.plan[:] = [Fault("end", "stood still", still=still)]
    world.step(process)
    (other,) = [each for each in world.running if each is not process]
    return process, other


def test_a_process_stalled_in_a_commit_is_fenced_by_its_namesake(
    world: World,
) -> None:
    process, other = stand_still_in_a_commit(world, "a", 4)
    assert isinstance(process.ended, FencedError)
    births = other.producer.births
    world.settle()
    assert (other.ended, other.producer.births) == (None, births)


def test_a_stalled_commit_is_aborted_after_another_takes_over(world: World) -> None:
    process, other = stand_still_in_a_commit(world, "b", 4)
    assert process.ended is None
    world.settle()
    assert process.ended is None
    assert other.ended is None


def test_a_stalled_batch_without_a_successor_is_decided_again(world: World) -> None:
    process, other = stand_still_in_a_commit(world, "b", 0)
    other.leave()
    world.running.remove(other)
    world.settle()
    assert process.ended is None
    assert reborn(process)


def test_a_stalled_flush_is_aborted_after_its_partition_moved(
    world: World,
) -> None:
    process = settled(world)
    other = world.start("b")
    world.step(other)

    def still() -> None:
        world.clock.sleep(TIMEOUT_SECONDS + 1.0)
        world.broker.groups[GROUP].drop(process.member)
        world.feed(0, 2)
        for _ in range(4):
            world.step(other)

    world.broker.groups[GROUP].wanted[0] = other.member
    process.network.plan[:] = [Fault("end", "stood still", still=still)]
    world.step(process)
    assert world.committed()[0] == 4
    world.settle()
    assert (process.ended, other.ended) == (None, None)


def at_poll(process: Process, act: Callable[[], None]) -> None:
    """Do something when the process has its next batch, and has not opened a transaction."""

    def hook(stage: str) -> None:
        if stage == "poll":
            process.loop._hook = None
            act()

    process.loop._hook = hook


@pytest.mark.parametrize("at", ["poll", "offsets", "offset_commit"])
@pytest.mark.parametrize("unaware", [True, False])
def test_a_member_expelled_before_its_offsets_commits_nothing(
    world: World,
    unaware: bool,  # noqa: FBT001 a parameter of the test
    at: Api | Literal["poll"],
) -> None:
    # It is suspended. The group expels it, and another member commits past its batch.
    process = settled(world)
    other = world.start("b")
    world.feed(0, 3)

    def still() -> None:
        world.broker.groups[GROUP].drop(process.member, unaware=unaware)
        for _ in range(4):
            world.step(other)
        world.feed(0, 2)
        world.step(other)

    # A poll ahead would join the group again.
    process.loop._limits.ahead = False
    if at == "poll":
        at_poll(process, still)
    else:
        process.network.plan[:] = [Fault(at, "stood still", still=still)]
    world.step(process)
    world.check()
    assert world.committed()[0] == 7
    aborts = [each.cause for each in process.heard if isinstance(each, BatchAborted)]
    # Only before its offsets are under way does its client know.
    known = at == "poll" and not unaware
    assert any("not a member of group" in cause for cause in aborts) is known
    world.settle()
    assert (process.ended, other.ended) == (None, None)


@pytest.mark.parametrize("at", ["partitions", "produce", "end"])
@pytest.mark.parametrize("unaware", [True, False])
def test_a_member_expelled_after_its_offsets_may_still_commit(
    world: World,
    unaware: bool,  # noqa: FBT001 a parameter of the test
    at: Api,
) -> None:
    """Until its transaction is over, the next owner gets no offset to begin at."""
    process = settled(world)
    other = world.start("b")
    world.feed(0, 3)
    asked: list[object] = []

    def still() -> None:
        world.broker.groups[GROUP].drop(process.member, unaware=unaware)
        asked.append(world.broker.committed(GROUP, [(INPUT, 0)]))

    process.network.plan[:] = [Fault(at, "stood still", still=still)]
    world.step(process)
    assert asked == [None]
    assert world.committed()[0] == 5
    world.check()
    world.feed(0, 1)
    world.settle()
    assert (process.ended, other.ended) == (None, None)


@pytest.mark.parametrize("at", ["partitions", "produce", "end"])
def test_a_next_owner_waits_until_the_offsets_are_settled(world: World, at: Api) -> None:
    """A member stays suspended after its offsets: the broker aborts them at the time limit."""
    process = settled(world)
    other = world.start("b")
    world.feed(0, 3)
    began = world.clock.now

    def still() -> None:
        world.broker.groups[GROUP].drop(process.member)
        for _ in range(4):
            world.step(other)
        assert world.committed()[0] == 5
        assert world.clock.now - began > TIMEOUT_SECONDS

    process.network.plan[:] = [Fault(at, "stood still", still=still)]
    world.step(process)
    world.check()
    world.settle()
    assert (process.ended, other.ended) == (None, None)


@pytest.mark.parametrize("how", ["moved", "lost"])
def test_a_rebalance_does_not_wait_for_offsets_of_its_own(world: World, how: str) -> None:
    """Between a batch's offsets and its commit, a poll ahead reports that its partition leaves."""
    process = settled(world)
    other = world.start("b")
    world.feed(0, 3)
    publish = process.loop._publisher.open

    def leaving(ends: Mapping[int, int], notes: Mapping[int, bytes]) -> None:
        publish(ends, notes)
        group = world.broker.groups[GROUP]
        if how == "moved":
            group.wanted[0] = other.member
        else:
            group.drop(process.member, unaware=False)

    process.loop._publisher.open = leaving  # type: ignore[method-assign, assignment]  # and then
    began = world.clock.now
    world.step(process)
    process.loop._publisher.open = publish  # type: ignore[method-assign]  # only this time
    world.check()
    world.step(other)
    world.settle()
    assert world.clock.now - began < TIMEOUT_SECONDS
    assert (process.ended, other.ended) == (None, None)


def test_suspension_in_a_transaction_is_not_a_takeover(world: World) -> None:
    process = settled(world)
    world.feed(0, 2)
    suspended = partial(world.clock.suspend, TIMEOUT_SECONDS + 1.0)
    process.network.plan[:] = [Fault("end", "stood still", still=suspended)]
    world.step(process)
    assert process.ended is None
    world.settle()
    assert process.producer.births == 2


def test_suspension_in_a_commit_counts_as_a_slow_commit(world: World) -> None:
    process = settled(world)
    world.feed(0, 2)
    suspended = partial(world.clock.suspend, SOCKET_SECONDS + 1.0)
    process.network.plan[:] = [Fault("end", "stood still", still=suspended)]
    world.step(process)
    world.feed(0, 2)
    world.settle()
    assert reborn(process) == ["slow commit"]
