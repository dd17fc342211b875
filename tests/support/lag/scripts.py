"""The twelve states of a group as sample series, with the verdict that was named in advance."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from stream_scorer.lag.verdicts.append_times import LogEndCurve
from stream_scorer.lag.verdicts.history import LagHistory
from stream_scorer.lag.verdicts.judge import judge
from stream_scorer.lag.verdicts.sample import LagJudgement, LagRules, LagSample, LagVerdict

RULES = LagRules(interval=10.0)
BEGIN = 1_000_000.0
HEALTHY = 6
"""Samples before a state begins; it begins just after the last of them."""
OWNER = "scorer-0 at /10.0.0.7"
RATE = 200
"""Records per second that are appended."""
PER = int(RATE * RULES.interval)


@dataclass(frozen=True)
class State:
    """A scripted state.

    Attributes:
        name: Its name.
        verdict: The verdict that is right.
        series: Yields the samples, the healthy ones first.
        added: Whether the partition was added while it was observed.
    """

    name: str
    verdict: LagVerdict
    series: Callable[[], Iterator[LagSample]]
    added: bool = False


def healthy(samples: int = HEALTHY) -> list[LagSample]:
    """Return a group that keeps up: half of a second's records are in its hands."""
    return [
        LagSample(
            BEGIN + at * RULES.interval, 0, high := 10_000 + at * PER, high, high - RATE // 2,
            members=2, owner=OWNER,
        )
        for at in range(samples)
    ]  # fmt: skip


def later(sample: LagSample, **changes: object) -> LagSample:
    """Return a sample one interval after another one, with the same input rate."""
    high = (sample.high or 0) + PER
    usual: dict[str, object] = {
        "time": sample.time + RULES.interval, "high": high, "stable": high,
        "committed": high - RATE // 2,
    }  # fmt: skip
    return replace(sample, **usual | changes)  # type: ignore[arg-type]


def _after_healthy(
    change: Callable[[int, LagSample], dict[str, object]],
) -> Callable[[], Iterator[LagSample]]:
    """Return a series: healthy samples, then ones that are changed, by their number from 1."""

    def series() -> Iterator[LagSample]:
        samples = healthy()
        yield from samples
        last = samples[-1]
        number = 0
        while True:
            number += 1
            last = later(last, **change(number, last))
            yield last

    return series


def _burst(number: int, last: LagSample) -> dict[str, object]:
    """Return 60,000 records within 10 s that straddle a sample; 1,000 records/s are read."""
    much = {1: 25_000, 2: 35_000}.get(number, PER)
    high = (last.high or 0) + much
    committed = min((last.committed or 0) + 10_000, high - RATE // 2)
    return {"high": high, "stable": high, "committed": committed}


def _slow(number: int, last: LagSample) -> dict[str, object]:
    del number
    return {"committed": (last.committed or 0) + 500}


def _still(number: int, last: LagSample) -> dict[str, object]:
    del number
    return {"committed": last.committed}


def _stopped(number: int, last: LagSample) -> dict[str, object]:
    return _still(number, last) | {"members": 0, "owner": ""}


def _rewound(number: int, last: LagSample) -> dict[str, object]:
    return {"committed": 500 if number == 1 else (last.committed or 0) + 3 * PER}


def _hanging(number: int, last: LagSample) -> dict[str, object]:
    """Return a transaction that opens 5 s after the last healthy sample, and never ends."""
    stable = (last.high or 0) + PER // 2 if number == 1 else last.stable
    return {"stable": stable, "committed": stable}


def _no_input(number: int, last: LagSample) -> dict[str, object]:
    del number
    return {"high": last.high, "stable": last.high, "committed": last.high}


def _empty(number: int, last: LagSample) -> dict[str, object]:
    return _no_input(number, last) | {"members": 0, "owner": ""}


def _deleted(number: int, last: LagSample) -> dict[str, object]:
    """Return a group that is too slow for the retention, and then goes on where records are."""
    high = (last.high or 0) + PER
    if number == 1:
        return {"start": high - 200, "committed": last.committed}
    return {"start": last.start, "committed": max(last.start or 0, (last.committed or 0) + 500)}


def _leader_lost(number: int, last: LagSample) -> dict[str, object]:
    del number
    return {
        "high": last.high, "start": None, "stable": None, "committed": last.committed,
        "error": "the partition has no leader",
    }  # fmt: skip


def _skewed(number: int, last: LagSample) -> dict[str, object]:
    """Return a producer whose clock is two minutes ahead."""
    del number
    return {"record_time": last.time + 130.0}


def _added() -> Iterator[LagSample]:
    """Yield a partition that gets records before the members find it."""
    sample = LagSample(BEGIN, 0, 0, 0, None, members=2)
    yield sample
    for number in range(1, 40):
        high = number * PER
        found = number > 3
        sample = replace(
            sample, time=BEGIN + number * RULES.interval, high=high, stable=high,
            committed=high - RATE // 2 if found else None, owner=OWNER if found else "",
        )  # fmt: skip
        yield sample


STATES = [
    State("healthy", LagVerdict.OK, _after_healthy(lambda number, last: {})),  # noqa: ARG005
    State("burst", LagVerdict.OK, _after_healthy(_burst)),
    State("partition added", LagVerdict.OK, _added, added=True),
    State("clock skew", LagVerdict.OK, _after_healthy(_skewed)),
    State("slow", LagVerdict.SLOW, _after_healthy(_slow)),
    State("stalled", LagVerdict.STALLED, _after_healthy(_still)),
    State("stopped", LagVerdict.STOPPED, _after_healthy(_stopped)),
    State("rewound", LagVerdict.REWOUND, _after_healthy(_rewound)),
    State("hanging transaction", LagVerdict.HANGING, _after_healthy(_hanging)),
    State("empty", LagVerdict.EMPTY, _after_healthy(_empty)),
    State("deleted records", LagVerdict.LOST, _after_healthy(_deleted)),
    State("leader lost", LagVerdict.UNKNOWN, _after_healthy(_leader_lost)),
]


class Observer:
    """Judges a series sample by sample, as the collector does."""

    def __init__(self, rules: LagRules = RULES, *, added: bool = False) -> None:
        self.curve = LogEndCurve()
        self.history = LagHistory(rules, self.curve, added=added)

    def see(self, sample: LagSample) -> LagJudgement:
        """Note a sample and return the judgement."""
        if sample.high is not None and not sample.error:
            self.curve.add(sample.time, sample.high)
        self.history.add(sample)
        return judge(self.history)
