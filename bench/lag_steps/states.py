"""Twelve states of consumer groups on real brokers, at the same time, each with its own topic."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from bench.lag_steps.baselines import BASELINES
from bench.lag_steps.traffic import Input, Member, commit, end_of
from stream_scorer.clocks import steady_epoch_seconds
from stream_scorer.closing import Closing
from stream_scorer.lag.verdicts.sample import LagRules, LagVerdict
from stream_scorer.lag.watch.passes import LagPasses, LagSnapshot

RATE = 100.0
"""Records per second of each topic."""
SKEW = 120.0
BURST = 20_000
PREFIX = "state-"
_ANSWER_SECONDS = 60.0


class Scene(Closing):
    """One group, its topic, and what is done to them.

    Args:
        name: Of the state.
        bootstrap: The cluster.
        source: Sends the topic's records.
        admin: Creates the topic.
        leader: The broker of the topic's only partition; None: any.
    """

    def __init__(
        self, name: str, bootstrap: str, source: Input, admin: AdminClient, leader: int | None
    ) -> None:
        self.name = name
        self.bootstrap = bootstrap
        self.source = source
        self.admin = admin
        self.topic = self.group = f"{PREFIX}{name.replace(' ', '-')}"
        topic = (
            NewTopic(self.topic, num_partitions=1, replication_factor=1)
            if leader is None
            else NewTopic(self.topic, num_partitions=1, replica_assignment=[[leader]])
        )
        admin.create_topics([topic])[self.topic].result(_ANSWER_SECONDS)
        self.member: Member | None = None
        self.upstream: Producer | None = None

    def begin(self, rate: float = RATE) -> None:
        """Send records and read them."""
        self.source.rates[self.topic] = rate
        self.member = Member(self.bootstrap, self.topic, self.group)

    def widen(self) -> None:
        """Add partitions, of which one stays empty and two get a record now and then."""
        asked = self.admin.create_partitions([NewPartitions(self.topic, 4)])
        asked[self.topic].result(_ANSWER_SECONDS)
        self.source.spread(self.topic, 4)
        self.source.partitions[self.topic] = [0] * 500 + [1] + [0] * 700 + [2]

    def leave(self) -> None:
        """Let the member leave its group."""
        if self.member is not None:
            self.member.close()
            self.member = None

    def close(self) -> None:
        """Stop what the scene has started."""
        self.source.rates.pop(self.topic, None)
        self.leave()
        if self.upstream is not None:
            with contextlib.suppress(Exception):  # its broker may be gone
                self.upstream.abort_transaction(1)


def _nothing(scene: Scene) -> None:
    del scene


def _burst(scene: Scene) -> None:
    scene.source.send(scene.topic, BURST)


def _added(scene: Scene) -> None:
    asked = scene.admin.create_partitions([NewPartitions(scene.topic, 2)])
    asked[scene.topic].result(_ANSWER_SECONDS)
    scene.source.spread(scene.topic, 2)


def _skewed(scene: Scene) -> None:
    scene.source.skews[scene.topic] = SKEW


def _slow(scene: Scene) -> None:
    if scene.member is not None:
        scene.member.per_second = RATE / 5


def _stalled(scene: Scene) -> None:
    if scene.member is not None:
        scene.member.still.set()


def _rewound(scene: Scene) -> None:
    scene.leave()
    commit(scene.bootstrap, scene.group, {(scene.topic, 0): 10})
    scene.begin()
    if scene.member is not None:
        # No look sees the earlier offset if everything is read again before it.
        scene.member.per_second = 2 * RATE


def _hanging(scene: Scene) -> None:
    scene.upstream = Producer(
        {
            "bootstrap.servers": scene.bootstrap, "transactional.id": f"{scene.group}-upstream",
            "transaction.timeout.ms": 600_000, "log_level": 0,
        }
    )  # fmt: skip
    scene.upstream.init_transactions(_ANSWER_SECONDS)
    scene.upstream.begin_transaction()
    scene.upstream.produce(scene.topic, b"never committed", partition=0)
    scene.upstream.flush(_ANSWER_SECONDS)


def _empty(scene: Scene) -> None:
    """Let the group read everything and leave."""
    del scene.source.rates[scene.topic]
    time.sleep(1.0)
    end = end_of(scene.bootstrap, scene.topic)
    scene.leave()
    commit(scene.bootstrap, scene.group, {(scene.topic, 0): end})


def _deleted(scene: Scene) -> None:
    _stalled(scene)
    time.sleep(1.0)
    end = end_of(scene.bootstrap, scene.topic)
    asked = scene.admin.delete_records([TopicPartition(scene.topic, 0, end)])
    for future in asked.values():
        future.result()


@dataclass(frozen=True)
class LiveState:
    """A state.

    Attributes:
        name: Its name.
        verdict: The verdict that is right.
        cause: Begins it.
        lasts: Intervals for which the verdict is reported: an event is reported for a minute.
    """

    name: str
    verdict: LagVerdict
    cause: Callable[[Scene], None]
    lasts: float = math.inf


LIVE_STATES: Sequence[LiveState] = (
    LiveState("healthy", LagVerdict.OK, _nothing),
    LiveState("burst", LagVerdict.OK, _burst),
    LiveState("partition added", LagVerdict.OK, _added),
    LiveState("clock skew", LagVerdict.OK, _skewed),
    LiveState("slow", LagVerdict.SLOW, _slow),
    LiveState("stalled", LagVerdict.STALLED, _stalled),
    LiveState("stopped", LagVerdict.STOPPED, Scene.leave),
    LiveState("rewound", LagVerdict.REWOUND, _rewound, lasts=LagRules().window - 1.0),
    LiveState("hanging transaction", LagVerdict.HANGING, _hanging),
    LiveState("empty", LagVerdict.EMPTY, _empty),
    LiveState("deleted records", LagVerdict.LOST, _deleted),
)
"""All but the loss of a leader, which needs a broker that can be stopped."""


@dataclass
class Observed:
    """What was reported of one state.

    Attributes:
        state: The state.
        before: Verdicts before it began.
        after: Time of the look since the state has begun, in intervals, and the verdict.
        baselines: What the simple judges said two intervals after it began.
        skew: Skew of its topic, seconds.
        reason: Of the last verdict.
    """

    state: LiveState
    before: list[LagVerdict] = field(default_factory=list)
    after: list[tuple[float, LagVerdict]] = field(default_factory=list)
    baselines: dict[str, LagVerdict] = field(default_factory=dict)
    skew: float | None = None
    reason: str = ""

    @property
    def right(self) -> bool:
        """Whether every look from two intervals after its begin on has the right verdict.

        Of an event that is reported for some time only: the looks in that time.
        """
        late = [verdict for when, verdict in self.after if 2.0 <= when <= self.state.lasts]
        return bool(late) and set(late) == {self.state.verdict}


@dataclass
class LiveRun:
    """All states on one cluster.

    Attributes:
        observed: By the state's name.
        age_errors: |age - truth| / truth of each age of more than ``oldest_exact`` seconds.
    """

    observed: dict[str, Observed]
    age_errors: list[float] = field(default_factory=list)


def run_states(
    states: Sequence[LiveState],
    bootstrap: str,
    passes: LagPasses,
    interval: float,
    healthy: int = 6,
    looks: int = 4,
    leader: int | None = None,
    *,
    idle: bool = False,
) -> LiveRun:
    """Begin all states at the same time, and judge them.

    Args:
        states: The states.
        bootstrap: The cluster.
        passes: Watches the groups ``state-*``.
        interval: Seconds between two passes.
        healthy: Passes before the states begin.
        looks: Passes from two intervals after their begin on.
        leader: The broker that leads the topics.
        idle: Whether each topic has three more partitions, of which one gets no records and two a
            record now and then.
    """
    run = LiveRun({state.name: Observed(state) for state in states})
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(Input(bootstrap))
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        scenes = {
            state.name: stack.enter_context(Scene(state.name, bootstrap, source, admin, leader))
            for state in states
        }
        for scene in scenes.values():
            if idle:
                scene.widen()
            scene.begin()
        clock = _Clock(passes, interval)
        _until_all_read(clock, scenes.values())
        for _ in range(healthy):
            snapshot = clock.tick()
            for name, scene in scenes.items():
                run.observed[name].before.append(snapshot.worst()[scene.group])
        with ThreadPoolExecutor(len(states)) as pool:
            begun = {state.name: pool.submit(_begin, state, scenes[state.name]) for state in states}
            left = {state.name: looks for state in states}
            deadline = time.monotonic() + _ANSWER_SECONDS + 2 * looks * interval
            while any(left.values()) and time.monotonic() < deadline:
                snapshot = clock.tick()
                for name, scene in scenes.items():
                    if left[name] and begun[name].done():
                        since = (snapshot.time - begun[name].result()) / interval
                        left[name] -= _note(run, snapshot, scene, since)
    return run


def _begin(state: LiveState, scene: Scene) -> float:
    state.cause(scene)
    return steady_epoch_seconds()


def _note(run: LiveRun, snapshot: LagSnapshot, scene: Scene, since: float) -> bool:
    """Note a pass; return whether it counts: two intervals or more after the state began."""
    observed = run.observed[scene.name]
    if since <= 0:
        return False
    observed.after.append((since, snapshot.worst()[scene.group]))
    observed.skew = snapshot.skews.get(scene.topic, observed.skew)
    counts = since >= 2.0
    for (group, at), judgement in snapshot.judgements.items():
        if group != scene.group:
            continue
        if judgement.verdict is observed.after[-1][1]:
            observed.reason = judgement.reason
        if counts and at[1] == 0 and not observed.baselines:
            observed.baselines = {
                name: judge(judgement.to_high) for name, judge in BASELINES.items()
            }
        partition = snapshot.partitions.get(at)  # none while no broker answers
        if judgement.age is None or judgement.to_high is None:
            continue
        if partition is None or partition.high is None:
            continue
        # Of deleted records nothing waits.
        first = max(partition.high - judgement.to_high, partition.start or 0)
        sent = scene.source.sent.get((*at, first))
        if sent is not None and snapshot.time - sent > 1.0:
            truth = snapshot.time - sent
            run.age_errors.append(abs(judgement.age - truth) / truth)
    return counts


class _Clock:
    """Makes a pass at each interval, however long the one before took."""

    def __init__(self, passes: LagPasses, interval: float) -> None:
        self._passes = passes
        self._interval = interval
        self._due = time.monotonic()

    def tick(self) -> LagSnapshot:
        time.sleep(max(self._due - time.monotonic(), 0.0))
        self._due = max(self._due, time.monotonic()) + self._interval
        return self._passes.run()


def _until_all_read(clock: _Clock, scenes: Iterable[Scene]) -> None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    groups = {scene.group for scene in scenes}
    while time.monotonic() < deadline:
        snapshot = clock.tick()
        read = {
            group
            for (group, _), each in snapshot.judgements.items()
            if each.owner and each.rate_out
        }
        if groups <= read:
            return
    raise TimeoutError(f"these groups have not begun to read: {sorted(groups - read)}")
