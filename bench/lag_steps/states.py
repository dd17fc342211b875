"""Twelve states of consumer groups on real brokers, at the same time, each with its own topic."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka.admin import AdminClient

from bench.lag_steps import scenes
from bench.lag_steps.scenes import Scene
from bench.lag_steps.traffic import ANSWER_SECONDS, Input
from stream_scorer.clocks import steady_epoch_seconds
from stream_scorer.lag.broker.looks import Place
from stream_scorer.lag.verdicts.sample import LagJudgement, LagRules, LagVerdict
from stream_scorer.lag.watch.passes import LagPasses, LagSnapshot


@dataclass(frozen=True)
class LiveState:
    """A state.

    Attributes:
        name: Its name.
        verdict: The verdict that is right.
        cause: Begins it.
        lasts: Seconds for which the verdict is reported at least.
        waiting: Records that wait in some looks; if they do not, the state was not seen.
        skew: The skew of its producer's clock that must be reported, seconds; None: not compared.
    """

    name: str
    verdict: LagVerdict
    cause: Callable[[Scene], None]
    lasts: float = math.inf
    waiting: int = 0
    skew: float | None = None


SKEWED = "clock skew"
_REPORTED = LagRules().report_least - 10.0
"""Seconds. An event is reported for a minute from its look on; its cause may end after that."""
LIVE_STATES: Sequence[LiveState] = (
    LiveState("healthy", LagVerdict.OK, scenes.nothing, skew=0.0),
    LiveState("burst", LagVerdict.OK, scenes.burst, waiting=scenes.BURST // 4),
    LiveState("partition added", LagVerdict.OK, scenes.added),
    LiveState(SKEWED, LagVerdict.OK, scenes.skewed, skew=scenes.SKEW),
    LiveState("slow", LagVerdict.SLOW, scenes.slow),
    LiveState("stalled", LagVerdict.STALLED, scenes.stalled),
    LiveState("stopped", LagVerdict.STOPPED, Scene.leave),
    LiveState("rewound", LagVerdict.REWOUND, scenes.rewound, lasts=_REPORTED),
    LiveState("hanging transaction", LagVerdict.HANGING, scenes.hanging),
    LiveState("empty", LagVerdict.EMPTY, scenes.empty),
    LiveState("deleted records", LagVerdict.LOST, scenes.deleted, lasts=_REPORTED),
)
"""All but the loss of a leader, which needs a broker that can be stopped."""
LOOKS_LEFT_OUT = 2
"""First looks after a state's begin, which do not count: two intervals end with the third."""
SKEW_ERROR_MOST = 5.0
"""Seconds."""
_SEEN_LEAST = 2
"""Looks in which the records of a state must wait."""
_AGE_LEAST = 1.0
"""Seconds; of younger records no error is computed."""


class StateLook(NamedTuple):
    """What one look reported of a state.

    Attributes:
        when: Intervals since the state began; 0: while it was beginning.
        verdict: Of the group; None: the look did not report it, which is wrong in every state.
        waiting: Records to the high watermark of all its partitions; None: not known.
        skew: Of its topic, seconds; None: not known.
        over: Whether the time for which its verdict is reported may be over.
    """

    when: float
    verdict: LagVerdict | None
    waiting: int | None = None
    skew: float | None = None
    over: bool = False


@dataclass
class Observed:
    """What was reported of one state.

    Attributes:
        state: The state.
        before: Verdicts before it began.
        after: Looks since it began.
        reason: Of the last verdict.
        unlike: Of the last verdict of each kind that the state does not have.
        delay: The longest time from a record's sending, which is its timestamp, to the
            acknowledgement, seconds: the skew may be less by so much.
    """

    state: LiveState
    before: list[LagVerdict | None] = field(default_factory=list)
    after: list[StateLook] = field(default_factory=list)
    reason: str = ""
    unlike: dict[LagVerdict | None, str] = field(default_factory=dict)
    delay: float = 0.0

    def note_unlike(self, snapshot: LagSnapshot, group: str) -> LagVerdict | None:
        """Return a group's verdict; keep its reason if the state does not have it."""
        verdict = snapshot.worst().get(group)
        if verdict is not self.state.verdict:
            self.unlike[verdict] = next(
                (
                    f"{at[0]} {at[1]}: {each.reason}"
                    for (name, at), each in snapshot.judgements.items()
                    if name == group and each.verdict is verdict
                ),
                snapshot.error or "the group was not listed",
            )
        return verdict

    @property
    def late(self) -> list[StateLook]:
        """The looks two intervals or more after the state began.

        An interval lies between two looks, so these are the third look and those after it: on a
        busy machine, two looks can be further apart. Of an event that is reported for some time
        only: the looks in that time.
        """
        late = self.after[LOOKS_LEFT_OUT:]
        return [look for look in late if look.when >= 2.0 and not look.over]

    def is_named_by(self, judge: Callable[[StateLook], LagVerdict | None]) -> bool:
        """Return whether a judge gives the state's verdict in each look that counts.

        Nothing changes the verdict of a state that is OK, so all its looks count, from the moment
        at which its cause begins. Of another state those from two intervals on count.
        """
        counted = self.after if self.state.verdict is LagVerdict.OK else self.late
        return bool(self.late) and {judge(look) for look in counted} == {self.state.verdict}

    def is_named_by_lag(self, judge: Callable[[int | None], LagVerdict]) -> bool:
        """Return the same of a judge that knows only how many records wait."""
        return self.is_named_by(lambda look: judge(look.waiting))

    @property
    def right(self) -> bool:
        """Whether the state could be seen, and its verdict and its skew are right."""
        seen = sum((look.waiting or 0) >= self.state.waiting for look in self.after)
        return (
            seen >= _SEEN_LEAST
            and self.is_named_by(lambda look: look.verdict)
            and (self.state.skew is None or self._is_skew_right())
        )

    def _is_skew_right(self) -> bool:
        return self.skew_error is not None and self.skew_error <= SKEW_ERROR_MOST

    @property
    def skew_error(self) -> float | None:
        """The largest error of the skew from two intervals on, seconds; None if one is missing."""
        skews = [look.skew for look in self.late]
        known = [skew for skew in skews if skew is not None]
        if not known or len(known) < len(skews):
            return None
        true = self.state.skew or 0.0
        return round(max(max(skew - true, true - self.delay - skew, 0.0) for skew in known), 3)


@dataclass
class LiveRun:
    """All states on one cluster.

    Attributes:
        observed: By the state's name.
        age_errors: |age - truth| / truth of each record that waits for more than a second; in truth
            it was appended between its sending and the acknowledgement.
        ages_unknown: Such records whose age was not reported although there was a verdict.
    """

    observed: dict[str, Observed]
    age_errors: list[float] = field(default_factory=list)
    ages_unknown: int = 0


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
        source.delays.clear()
        with ThreadPoolExecutor(len(states)) as pool:
            begun = {state.name: pool.submit(_begin, state, staged[state.name]) for state in states}
            left = {state.name: looks for state in states}
            deadline = time.monotonic() + ANSWER_SECONDS + 2 * looks * interval
            while any(left.values()) and time.monotonic() < deadline:
                snapshot = clock.tick()
                for name, scene in staged.items():
                    if left[name]:
                        left[name] -= _note(run, snapshot, scene, begun[name], interval)
    return run


def _begin(state: LiveState, scene: Scene) -> float:
    state.cause(scene)
    return steady_epoch_seconds()


def _note(
    run: LiveRun, snapshot: LagSnapshot, scene: Scene, begun: Future[float], interval: float
) -> bool:
    """Note a pass; return whether it is two intervals or more after the state began."""
    observed = run.observed[scene.name]
    observed.delay = scene.source.delays.get(scene.topic, 0.0)
    since = (snapshot.time - begun.result()) / interval if begun.done() else 0.0
    if since <= 0 and observed.state.verdict is not LagVerdict.OK:
        return False
    found = {at: each for (name, at), each in snapshot.judgements.items() if name == scene.group}
    verdict = observed.note_unlike(snapshot, scene.group)
    waiting = [each.to_high for each in found.values()]
    known = [each for each in waiting if each is not None]
    skew = snapshot.skews.get(scene.topic)
    total = sum(known) if len(known) == len(waiting) else None
    over = since * interval > observed.state.lasts
    observed.after.append(StateLook(max(since, 0.0), verdict, total, skew, over))
    for at, judgement in found.items():
        if judgement.verdict is verdict:
            observed.reason = judgement.reason
        truth = _true_age(snapshot, scene, at, judgement)
        if truth is None or truth[0] <= _AGE_LEAST:
            continue
        least, most = truth
        if judgement.age is None:
            run.ages_unknown += 1
        else:
            error = max(least - judgement.age, judgement.age - most, 0.0)
            run.age_errors.append(error / least)
    return since >= 2.0 and len(observed.after) > LOOKS_LEFT_OUT


def _true_age(
    snapshot: LagSnapshot, scene: Scene, at: Place, judgement: LagJudgement
) -> tuple[float, float] | None:
    """Return the least and most age of the first waiting record, seconds; None: none waits."""
    partition = snapshot.partitions.get(at)  # none while no broker answers
    if partition is None or partition.high is None or judgement.to_high is None:
        return None
    # Of deleted records nothing waits.
    first = max(partition.high - judgement.to_high, partition.start or 0)
    appended = scene.source.appended.get((*at, first))
    return None if appended is None else (snapshot.time - appended[1], snapshot.time - appended[0])


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
