"""Exactly once, whatever requests are lost, delayed or repeated, and however members change.

The real loop, source, publisher and producer run against a fake broker. Hypothesis chooses the
faults of requests, and which processes are killed, expelled, duplicated or suspended.
"""

from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.support.effort import examples
from tests.support.kafka.fake_network import Fault
from tests.support.kafka.loop_world import (
    GROUP,
    PARTITIONS,
    SOCKET_SECONDS,
    TIMEOUT_SECONDS,
    Process,
    World,
)

_MOST_PROCESSES = 3
# Five permanently refused transactions in a row would end a process, as they should.
_MOST_EXPULSIONS = 4

WHO = st.integers(0, _MOST_PROCESSES - 1)
PARTITION = st.integers(0, PARTITIONS - 1)
COUNT = st.integers(1, 7)
INSTANCE = st.sampled_from(["a", "b"])
SIGNS = st.sampled_from(["reset", "timeout", "quiet"])
APIS = st.sampled_from(["partitions", "produce", "offsets", "offset_commit", "end", "end"])
KINDS = st.sampled_from(["request lost", "answer lost", "held", "repeated", "released"])
LOSSES = st.sampled_from(["request lost", "answer lost", "held"])
# A birth is rare, so its faults come after those that cause a birth.
# Either once, or until the client gives up.
TIMES = st.sampled_from([1, 1, 1, TIMEOUT_SECONDS // SOCKET_SECONDS])
FAULTS = st.builds(
    list[Fault].__add__,
    st.lists(st.builds(Fault, APIS, KINDS, SIGNS, TIMES), min_size=1, max_size=2),
    st.lists(st.builds(Fault, st.just("init"), LOSSES, SIGNS), max_size=2),
)


class Loops(RuleBasedStateMachine):
    """Up to three processes of one group, with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self._expelled: list[dict[int, int]] = []

    def _expel(self, process: Process, *, unaware: bool = True) -> None:
        committed = self.world.committed()
        self._expelled = [each for each in self._expelled if each == committed]
        if len(self._expelled) < _MOST_EXPULSIONS:
            self._expelled.append(committed)
            self.world.broker.groups[GROUP].drop(process.member, unaware=unaware)

    def _one(self, who: int) -> Process:
        return self.world.running[who % len(self.world.running)]

    def _kill(self, process: Process) -> None:
        process.kill()
        self.world.running.remove(process)
        self.world.broker.groups[GROUP].drop(process.member)

    def _plan(self, process: Process, faults: list[Fault], *, eager: bool = True) -> None:
        process.network.plan[:] = faults
        process.network.eager = eager

    @initialize(
        count=st.integers(0, 8),
        faults=st.one_of(st.just([]), FAULTS),
        poison_every=st.sampled_from([0, 0, 2, 5]),
        wait_every=st.sampled_from([0, 0, 1, 2, 3]),
        early=st.booleans(),
    )
    def begin(
        self,
        count: int,
        faults: list[Fault],
        poison_every: int,
        wait_every: int,
        early: bool,  # noqa: FBT001 a drawn value
    ) -> None:
        self.world.poison_every = poison_every
        self.world.wait_every = wait_every
        self.world.early = early
        self.world.feed(0, count)
        first = self.world.start("a")
        self._plan(first, faults)
        self._step(first, 2)

    def _step(self, process: Process, times: int) -> None:
        for _ in range(times):
            if process in self.world.running:
                self.world.step(process)
        process.network.plan.clear()

    @precondition(lambda self: len(self.world.running) < _MOST_PROCESSES)
    @rule(instance=INSTANCE)
    def start(self, instance: str) -> None:
        self.world.start(instance)

    @precondition(lambda self: self.world.running)
    @rule(who=WHO, partition=PARTITION, count=COUNT, times=st.integers(1, 3), eager=st.booleans())
    def step(self, who: int, partition: int, count: int, times: int, eager: bool) -> None:  # noqa: FBT001 a drawn value
        process = self._one(who)
        self._plan(process, [], eager=eager)
        self.world.feed(partition, count)
        self._step(process, times)

    @precondition(lambda self: self.world.running)
    @rule(
        who=WHO,
        partition=PARTITION,
        count=COUNT,
        times=st.integers(1, 3),
        faults=FAULTS,
        eager=st.booleans(),
    )
    def step_with_faults(
        self,
        who: int,
        partition: int,
        count: int,
        times: int,
        faults: list[Fault],
        eager: bool,  # noqa: FBT001 a drawn value
    ) -> None:
        process = self._one(who)
        self._plan(process, faults, eager=eager)
        self.world.feed(partition, count)
        self._step(process, times)

    @precondition(lambda self: self.world.running)
    @rule(
        who=WHO,
        partition=PARTITION,
        count=COUNT,
        api=st.one_of(st.just("end"), APIS),
        seconds=st.sampled_from([TIMEOUT_SECONDS + 1.0, TIMEOUT_SECONDS - 1.0, 1.0]),
        expelled=st.booleans(),
        other=st.sampled_from(["a", "b", None]),
        unaware=st.booleans(),
        steps=st.integers(0, 4),
        lost=st.booleans(),
        eager=st.booleans(),
    )
    def stand_still(
        self,
        who: int,
        partition: int,
        count: int,
        api: str,
        seconds: float,
        expelled: bool,  # noqa: FBT001 a drawn value
        other: str | None,
        unaware: bool,  # noqa: FBT001 a drawn value
        steps: int,
        lost: bool,  # noqa: FBT001 a drawn value
        eager: bool,  # noqa: FBT001 a drawn value
    ) -> None:
        """A process is suspended before a request, and others continue meanwhile."""
        process = self._one(who)
        self.world.feed(partition, count)
        still = partial(self._meanwhile, process, seconds, expelled, other, unaware, steps)
        faults = [Fault(api, "stood still", still=still)]  # type: ignore[arg-type]  # drawn
        if lost:
            faults.insert(0, Fault(api, "answer lost", "quiet"))  # type: ignore[arg-type]  # drawn
        self._plan(process, faults, eager=eager)
        self._step(process, 1)

    def _meanwhile(
        self,
        process: Process,
        seconds: float,
        expelled: bool,  # noqa: FBT001 a drawn value
        other: str | None,
        unaware: bool,  # noqa: FBT001 a drawn value
        steps: int,
    ) -> None:
        self.world.clock.sleep(seconds)
        if expelled:
            self._expel(process, unaware=unaware)
        if other is not None and len(self.world.running) < _MOST_PROCESSES:
            self.world.start(other)
        for _ in range(steps):
            for each in list(self.world.running):
                if not each.stepping and each in self.world.running:
                    self.world.step(each)
        self.world.check()

    @precondition(lambda self: self.world.running)
    @rule(
        who=WHO,
        partition=PARTITION,
        api=st.one_of(st.none(), APIS),
        sign=SIGNS,
        times=TIMES,
        at=st.sampled_from(["offsets", "offset_commit", "end"]),
        given_up=st.sampled_from(["aborted", "killed", ""]),
        eager=st.sampled_from([True, True, False]),
    )
    def late(
        self,
        who: int,
        partition: int,
        api: str | None,
        sign: str,
        times: int,
        at: str,
        given_up: str,
        eager: bool,  # noqa: FBT001 a drawn value
    ) -> None:
        """A transaction's request may arrive inside the next one, which may be aborted."""
        process = self._one(who)
        first = [] if api is None else [Fault(api, "held", sign, times)]  # type: ignore[arg-type]  # drawn
        second = [Fault(at, "released")]  # type: ignore[arg-type]  # drawn
        if given_up:
            expel = partial(self._expel, process)
            second.append(Fault("offset_commit", "stood still", still=expel))
        for faults in (first, second):
            self.world.feed(partition, 2)
            if process not in self.world.running:
                return
            self._plan(process, faults, eager=eager)
            self._step(process, 1)
        if given_up == "killed" and process in self.world.running:
            self._kill(process)

    @precondition(lambda self: self.world.running)
    @rule(who=WHO, partition=PARTITION)
    def take_over(self, who: int, partition: int) -> None:
        """A namesake starts; the process exits unless its own requests may explain the fencing."""
        process = self._one(who)
        if len(self.world.running) == _MOST_PROCESSES or process.has_reasons:
            return
        self.world.start(process.instance)
        self.world.feed(partition, 1)
        # A batch that must wait begins no transaction.
        deciding = process.reads(partition) and not self.world.wait_every
        self._step(process, 1)
        assert not deciding or process.ended is not None, f"{process.who} goes on"

    @precondition(lambda self: self.world.held)
    @rule()
    def release(self) -> None:
        """Held requests arrive between two steps."""
        self.world.release()

    @precondition(lambda self: self.world.running)
    @rule(who=WHO)
    def kill(self, who: int) -> None:
        self._kill(self._one(who))

    @precondition(lambda self: self.world.running)
    @rule(who=WHO, faults=st.one_of(st.just([]), FAULTS))
    def leave(self, who: int, faults: list[Fault]) -> None:
        process = self._one(who)
        self._plan(process, faults)
        self.world.step(process, process.leave)
        if process in self.world.running:
            self.world.running.remove(process)

    @precondition(lambda self: self.world.running)
    @rule(who=WHO, unaware=st.booleans())
    def expel(self, who: int, unaware: bool) -> None:  # noqa: FBT001 a drawn value
        """The group expels a member, whose loop learns of it by its next poll."""
        self._expel(self._one(who), unaware=unaware)

    @precondition(lambda self: self.world.running)
    @rule(who=WHO, partition=PARTITION)
    def move(self, who: int, partition: int) -> None:
        """The group assigns a partition to another member."""
        group, member = self.world.broker.groups[GROUP], self._one(who).member
        if member in group.members:
            group.wanted[partition] = member

    @rule(seconds=st.sampled_from([0.5, 5.0, TIMEOUT_SECONDS + 1.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)

    @invariant()
    def exactly_once(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.world.settle()
        finally:
            self.world.close()


# On a busy machine, drawing the examples may be slow enough for this health check to fail.
Loops.TestCase.settings = settings(
    max_examples=examples(800),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLoops = Loops.TestCase
