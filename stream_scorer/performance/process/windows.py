"""The windows of closed days: what is measured in each, and the early warning of each version."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final

import numpy as np

from stream_scorer.core.labelling.contract import FRAUD, UNKNOWN
from stream_scorer.drift.detection.river.hddm_w import ERROR_DETECTORS, state_after
from stream_scorer.performance.measures.contract import ALL, MaturedRows, Measured, WindowKey
from stream_scorer.performance.measures.measure import Measuring, measure
from stream_scorer.performance.process.names import Names
from stream_scorer.performance.warning.contract import DayLoss, LossReference, Warned
from stream_scorer.performance.warning.day_loss import (
    LossSums,
    day_loss,
    matured_loss,
    powered_loss,
)
from stream_scorer.performance.warning.watch import POWERED, LossWatch, WarningBudget
from stream_scorer.retraining.rules.contract import RetrainRules
from stream_scorer.retraining.rules.delta import NEWEST_DAYS, tolerated_cost
from stream_scorer.telemetry import Event, PerformanceMeasured, PerformanceWarned

_DAY_MS: Final = 86_400_000
_WEEK_DAYS: Final = 7
_ERRORS_MOST: Final = 50_000
"""Newest decisions of a week that River's detectors get."""


@dataclass(frozen=True, slots=True)
class MaturedWindow:
    """A measured day or week.

    Attributes:
        kind: ``DAY`` or ``WEEK``.
        measured: Its measures.
        policy: What counts for transactions without a label; empty without a policy.
        river: State of each detector of River by name; empty for a day.
    """

    kind: str
    measured: Measured
    policy: str
    river: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MaturedLossDay:
    """A day of the early warning.

    Attributes:
        day: Its loss.
        log_e: Logarithms of the evidence by class; empty while the usual level is learned.
        policy: As of :class:`MaturedWindow`.
        learning_days: Days that are still to be learned.
    """

    day: DayLoss
    log_e: Mapping[str, float]
    policy: str
    learning_days: int


@dataclass(frozen=True, slots=True)
class Closed:
    """What a closing found.

    Attributes:
        windows: Days and weeks.
        losses: Days of the early warning.
        warned: Warnings, with the version's usual level.
        closing: Event time that the watermark had to reach for it, ms.
        detected_at: Largest Kafka timestamp of the records that were read, ms.
    """

    windows: Sequence[MaturedWindow] = ()
    losses: Sequence[MaturedLossDay] = ()
    warned: Sequence[tuple[Warned, LossReference]] = ()
    closing: int = 0
    detected_at: int = 0

    def at(self, closing: int, detected_at: int) -> "Closed":
        """Return the same with its times."""
        return replace(self, closing=closing, detected_at=detected_at)

    def events(self) -> Iterator[Event]:
        """Return the events that metrics show: of the version that decided most."""
        for kind in ("DAY", "WEEK"):
            mine = [
                each for each in self.windows
                if each.kind == kind and each.measured.key.segment == ALL
            ]  # fmt: skip
            if mine:
                most = max(mine, key=lambda each: each.measured.rows).measured
                counts = {
                    "fraud": most.frauds, "genuine": most.genuine, "unknown": most.unknown,
                }  # fmt: skip
                yield PerformanceMeasured(kind.lower(), dict(most.values), counts)
        for each in self.losses:
            if each.log_e:
                yield PerformanceWarned("", dict(each.log_e))
        for warned, _ in self.warned:
            yield PerformanceWarned(warned.klass, {warned.klass: warned.log_e})


class MaturedWindows:
    """Measures closed days, and keeps the early warning of each version.

    Args:
        names: Names of versions and arms.
        measuring: Parameters of the measures.
        budget: Of the early warning.
        rules: Of retraining, which give the tolerance; None: the budget's.
    """

    def __init__(
        self, names: Names, measuring: Measuring, budget: WarningBudget,
        rules: RetrainRules | None = None,
    ) -> None:  # fmt: skip
        self._names = names
        self._measuring = measuring
        self._budget = budget
        self._rules = rules
        self._decided: dict[str, list[int]] = {}
        self._watches: dict[int, LossWatch] = {}
        self._reviewed: dict[int, LossSums] = {}

    def close(
        self, day: int, rows: MaturedRows, week: Callable[[], MaturedRows],
        policies: Mapping[int, str], sampled: int,
    ) -> Closed:  # fmt: skip
        """Measure a day and the week that ends with it.

        Args:
            day: Number of the day.
            rows: Its matured decisions.
            week: Returns those of the week.
            policies: What counts for transactions without a label, by version.
            sampled: n if one of n customers is counted.
        """
        if not len(rows):
            return Closed()
        self._count(rows, sampled)
        seven = week()
        windows, losses, warned = [], [], []
        for version in np.unique(rows.version).tolist():
            policy = policies.get(version, "")
            mine = rows.take(rows.version == version)
            for arm in np.unique(mine.arm).tolist():
                today = mine.take(mine.arm == arm)
                last = seven.take((seven.version == version) & (seven.arm == arm))
                windows += self._measure(version, arm, day, today, last, policy, sampled)
            lost, alarms = self._lose(version, day, mine, policy, sampled)
            losses += lost
            warned += alarms
        return Closed(windows, losses, warned)

    def _measure(
        self, version: int, arm: int, day: int, today: MaturedRows, week: MaturedRows,
        policy: str, sampled: int,
    ) -> list[MaturedWindow]:  # fmt: skip
        """Measure the segments of a day and of its week, the one of all decisions first."""
        windows = []
        present = int(np.bitwise_or.reduce(today.segments))
        for bit, name in enumerate(self._names.segments):
            if not present >> bit & 1:
                continue
            for kind, rows, days in (("DAY", today, 1), ("WEEK", week, _WEEK_DAYS)):
                inside = rows if not bit else rows.take(rows.segments >> np.uint64(bit) & 1 == 1)
                key = self._key(version, self._names.arms[arm], day, days, name)
                river = _river(inside) if (kind, bit) == ("WEEK", 0) else {}
                measured = measure(inside, key, self._measuring, sampled)
                windows.append(MaturedWindow(kind, measured, policy, river))
        return windows

    def _lose(
        self, version: int, day: int, rows: MaturedRows, policy: str, sampled: int
    ) -> tuple[list[MaturedLossDay], list[tuple[Warned, LossReference]]]:
        """Give a version's watch its matured day."""
        watch = self._watch(version)
        key = self._key(version, ALL, day, 1)
        told = watch.matured(key, matured_loss(rows, self._measuring.costs, sampled))
        if told is None:
            return [], []
        window, sums, judged = told
        drawn = self._reviewed.pop(version, LossSums())
        loss = day_loss(window, sums, drawn)
        losses = [MaturedLossDay(loss, judged.log_e, policy, watch.learning_days)]
        warned = judged.warned or watch.catch_up(key)
        return losses, self._alarms(watch, warned)

    def review(self, day: int, rows: MaturedRows) -> Closed:
        """Give each version's watch the drawn decisions of a day.

        Args:
            day: Number of the day.
            rows: Its decisions, with what reviews have found.
        """
        found = []
        for version in np.unique(rows.version).tolist():
            mine = rows.take(rows.version == version)
            sums = powered_loss(mine, self._measuring.costs)
            if sums.exposure <= 0:
                continue
            self._reviewed[version] = self._reviewed.get(version, LossSums()).plus(sums)
            watch = self._watch(version)
            judged = watch.powered(self._key(version, ALL, day, 1), sums)
            found += self._alarms(watch, judged.warned)
        return Closed(warned=found)

    @staticmethod
    def _alarms(watch: LossWatch, warned: Warned | None) -> list[tuple[Warned, LossReference]]:
        level = watch.reference
        if warned is not None and warned.klass == POWERED:
            level = watch.revealed
        return [] if warned is None or level is None else [(warned, level)]

    def _count(self, rows: MaturedRows, sampled: int) -> None:
        """Note how many decisions each model made on a day, by all its versions and arms."""
        today: dict[str, int] = {}
        for version, count in zip(*np.unique(rows.version, return_counts=True), strict=True):
            model, _ = self._names.versions[int(version)]
            today[model] = today.get(model, 0) + int(count) * sampled
        for model, count in today.items():
            self._decided[model] = [*self._decided.get(model, ()), count][-NEWEST_DAYS:]

    def _watch(self, version: int) -> LossWatch:
        watch = self._watches.setdefault(version, LossWatch(self._budget))
        if self._rules is not None:
            decided = self._decided.get(self._names.versions[version][0], ())
            cost = tolerated_cost(self._rules.cost, self._rules.horizon_days, decided)
            watch.allowed = min(cost / self._budget.most, 1.0)
        return watch

    def _key(self, version: int, arm: str, day: int, days: int, segment: str = ALL) -> WindowKey:
        model, name = self._names.versions[version]
        end = (day + 1) * _DAY_MS
        return WindowKey(model, name, arm, segment, end - days * _DAY_MS, end)

    def document(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {
            "watches": {str(n): each.document() for n, each in self._watches.items()},
            "reviewed": {str(n): astuple(each) for n, each in self._reviewed.items()},
            "decided": self._decided,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a state of :meth:`document`; an empty one changes nothing."""
        for number, each in document.get("watches", {}).items():
            self._watches[int(number)] = LossWatch.restored(self._budget, each)
        for number, sums in document.get("reviewed", {}).items():
            self._reviewed[int(number)] = LossSums(*sums)
        self._decided = dict(document.get("decided", {}))


def _river(rows: MaturedRows) -> dict[str, str]:
    """Return what River's detectors say of a week's single errors."""
    known = rows.take((rows.state != UNKNOWN) & (rows.weight > 0))
    known = known.take(np.argsort(known.event_time, kind="stable")[-_ERRORS_MOST:])
    wrong = (known.outcome != 0) != (known.state == FRAUD)
    return {name: state_after(name, wrong) for name in ERROR_DETECTORS}
