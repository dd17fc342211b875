"""Twelve states of consumer groups on real brokers, at the same time, each with its own topic."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient

from bench.lag_steps import scenes
from bench.lag_steps.baselines import BASELINES
from bench.lag_steps.scenes import ANSWER_SECONDS, Scene
from bench.lag_steps.traffic import Input
from stream_scorer.clocks import steady_epoch_seconds
from stream_scorer.lag.verdicts.sample import LagRules, LagVerdict
from stream_scorer.lag.watch.passes import LagPasses, LagSnapshot


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
    LiveState("healthy", LagVerdict.OK, scenes.nothing),
    LiveState("burst", LagVerdict.OK, scenes.burst),
    LiveState("partition added", LagVerdict.OK, scenes.added),
    LiveState("clock skew", LagVerdict.OK, scenes.skewed),
    LiveState("slow", LagVerdict.SLOW, scenes.slow),
    LiveState("stalled", LagVerdict.STALLED, scenes.stalled),
    LiveState("stopped", LagVerdict.STOPPED, Scene.leave),
    LiveState("rewound", LagVerdict.REWOUND, scenes.rewound, lasts=LagRules().window - 1.0),
    LiveState("hanging transaction", LagVerdict.HANGING, scenes.hanging),
    LiveState("empty", LagVerdict.EMPTY, scenes.empty),
    LiveState("deleted records", LagVerdict.LOST, scenes.deleted),
)
"""All but the loss of a leader, which needs a broker that can be stopped."""
LOOKS_LEFT_OUT = 2
"""First looks after a state's begin, which do not count: two intervals end with the third."""


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
        unlike: Of the last verdict of each kind that the state does not have.
    """

    state: LiveState
    before: list[LagVerdict] = field(default_factory=list)
    after: list[tuple[float, LagVerdict]] = field(default_factory=list)
    baselines: dict[str, LagVerdict] = field(default_factory=dict)
    skew: float | None = None
    reason: str = ""
    unlike: dict[LagVerdict, str] = field(default_factory=dict)

    def note_unlike(self, snapshot: LagSnapshot, group: str) -> LagVerdict:
        """Return a group's verdict; keep its reason if the state does not have it."""
        verdict = snapshot.worst()[group]
        if verdict is not self.state.verdict:
            self.unlike[verdict] = next(
                (
                    f"{at[0]} {at[1]}: {each.reason}"
                    for (name, at), each in snapshot.judgements.items()
                    if name == group and each.verdict is verdict
                ),
                snapshot.error,
            )
        return verdict

    @property
    def right(self) -> bool:
        """Whether every look from two intervals after its begin on has the right verdict.

        An interval lies between two looks, so these are the third look and those after it: on a
        busy machine, two looks can be further apart. Of an event that is reported for some time
        only: the looks in that time.
        """
        counted = self.after[LOOKS_LEFT_OUT:]
        late = [verdict for when, verdict in counted if 2.0 <= when <= self.state.lasts]
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
        staged = {
            state.name: stack.enter_context(Scene(state.name, bootstrap, source, admin, leader))
            for state in states
        }
        for scene in staged.values():
            if idle:
                scene.widen()
            scene.begin()
        clock = _Clock(passes, interval)
        _until_all_read(clock, staged.values())
        for _ in range(healthy):
            snapshot = clock.tick()
            for name, scene in staged.items():
                observed = run.observed[name]
                observed.before.append(observed.note_unlike(snapshot, scene.group))
        with ThreadPoolExecutor(len(states)) as pool:
            begun = {state.name: pool.submit(_begin, state, staged[state.name]) for state in states}
            left = {state.name: looks for state in states}
            deadline = time.monotonic() + ANSWER_SECONDS + 2 * looks * interval
            while any(left.values()) and time.monotonic() < deadline:
                snapshot = clock.tick()
                for name, scene in staged.items():
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
    observed.after.append((since, observed.note_unlike(snapshot, scene.group)))
    observed.skew = snapshot.skews.get(scene.topic, observed.skew)
    counts = since >= 2.0 and len(observed.after) > LOOKS_LEFT_OUT
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


def _until_all_read(clock: _Clock, staged: Iterable[Scene]) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    groups = {scene.group for scene in staged}
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
