"""The last pass as metrics: each scrape shows one pass as a whole."""

import math
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from itertools import groupby, product

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_scorer.clocks import machine_seconds
from stream_scorer.lag.verdicts.sample import LagJudgement, LagVerdict
from stream_scorer.lag.watch.passes import LagSnapshot, Watched
from stream_scorer.telemetry import LagPassed
from stream_scorer.telemetry.event import Counter
from stream_scorer.telemetry.event import Metric as Declared

SERIES_PER_PARTITION = 10
"""Series that one partition of one group has."""
SERIES_OF_OFFSETS = 3
"""Series that one partition of a topic has."""

Rows = list[tuple[tuple[str, ...], float]]
"""Label values and the number of each series."""


class LagSeries(Collector):
    """Renders the snapshot that a function returns.

    What is not known has no series: a number that is not one (NaN) would spoil every sum. The
    groups' verdicts and the partitions by verdict are there for each verdict, 0 included. If groups
    read so many topics that these are too many, only verdicts that hold are there, the heaviest
    first.

    Args:
        snapshot: Returns the last pass.
        series_most: Series of single partitions; with more, only the groups' own are shown. Of
            partitions by verdict, there are not more either.
    """

    def __init__(self, snapshot: Callable[[], LagSnapshot], series_most: int = 50_000) -> None:
        self._snapshot = snapshot
        self._series_most = series_most

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples, so that second ones of their names are refused."""
        return [_family(metric, []) for metric in LagPassed.metrics()]

    def collect(self) -> Iterable[Metric]:
        """Return the series of the last pass."""
        now = self._snapshot()
        count = len(now.judgements) * SERIES_PER_PARTITION + len(now.partitions) * SERIES_OF_OFFSETS
        fits = count <= self._series_most
        rows: dict[Declared, Rows] = _of_groups(now) | _of_topics(now) | _of_passes(now)
        rows[LagPassed.PARTITIONS] = _by_verdict(now, self._series_most)
        rows[LagPassed.LEFT_OUT] = [((), 0.0 if fits else float(len(now.judgements)))]
        if fits:
            rows |= _of_partitions(now) | _of_offsets(now)
        return [_family(metric, rows.get(metric, [])) for metric in LagPassed.metrics()]


def _family(metric: Declared, rows: Rows) -> Metric:
    kind = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
    family = kind(f"stream_scorer_{metric.name}", metric.text, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _labels(watched: Watched) -> tuple[str, str, str]:
    group, (topic, partition) = watched
    return group, topic, str(partition)


def _of_partitions(now: LagSnapshot) -> dict[Declared, Rows]:
    numbers: dict[Declared, Callable[[LagJudgement], float | None]] = {
        LagPassed.LAG: lambda each: each.to_high,
        LagPassed.STABLE: lambda each: each.to_stable,
        LagPassed.SECONDS: lambda each: each.age,
        LagPassed.EVENT_SECONDS: lambda each: each.event_age,
        LagPassed.INPUT: lambda each: each.rate_in,
        LagPassed.OUTPUT: lambda each: each.rate_out,
        LagPassed.DRAIN: lambda each: each.drain_seconds,
        LagPassed.LOST: lambda each: each.lost,
    }
    rows: dict[Declared, Rows] = {metric: [] for metric in numbers}
    rows[LagPassed.VERDICT], rows[LagPassed.OWNER] = [], []
    for watched, judgement in now.judgements.items():
        labels = _labels(watched)
        for metric, number in numbers.items():
            value = number(judgement)
            if value is not None and not math.isnan(value):
                rows[metric].append((labels, float(value)))
        rows[LagPassed.VERDICT].append(((*labels, judgement.verdict), 1.0))
        if judgement.owner:
            rows[LagPassed.OWNER].append(((*labels, judgement.owner), 1.0))
    return rows


def _of_groups(now: LagSnapshot) -> dict[Declared, Rows]:
    return {
        LagPassed.MEMBERS: [((group,), float(count)) for group, count in now.members.items()],
        LagPassed.GROUP: [
            ((group, verdict), float(verdict is worst))
            for group, worst in now.worst().items()
            for verdict in LagVerdict
        ],
        LagPassed.GROUPS_LEFT_OUT: [((), float(now.left_out))],
    }


def _by_verdict(now: LagSnapshot, most: int) -> Rows:
    """Return the partitions of each group and topic by verdict, at most so many rows."""
    tally = Tally(
        (group, topic, judgement.verdict)
        for (group, (topic, _)), judgement in now.judgements.items()
    )
    topics = [key for key, _ in groupby(sorted((group, at[0]) for group, at in now.judgements))]
    if len(topics) * len(LagVerdict) <= most:
        return [
            ((*topic, verdict), float(tally[*topic, verdict]))
            for topic, verdict in product(topics, LagVerdict)
        ]
    weight = list(LagVerdict)
    held = sorted(tally.items(), key=lambda row: (weight.index(row[0][2]), row[0][:2]))
    return [(labels, float(count)) for labels, count in held[:most]]


def _of_offsets(now: LagSnapshot) -> dict[Declared, Rows]:
    offsets: dict[Declared, Rows] = {
        LagPassed.START: [], LagPassed.STABLE_END: [], LagPassed.END: [],
    }  # fmt: skip
    for (topic, partition), each in now.partitions.items():
        labels = (topic, str(partition))
        for metric, value in zip(offsets, (each.start, each.stable, each.high), strict=True):
            if value is not None:
                offsets[metric].append((labels, float(value)))
    return offsets


def _of_topics(now: LagSnapshot) -> dict[Declared, Rows]:
    return {
        LagPassed.SKEW: [((topic,), skew) for topic, skew in now.skews.items()],
        LagPassed.OPEN: [
            (
                (at[0], str(at[1]), each.transactional_id, str(each.producer_id)),
                max(now.time - each.started, 0.0),
            )
            for at, each in now.transactions.items()
        ],
    }


def _of_passes(now: LagSnapshot) -> dict[Declared, Rows]:
    if not now.time:
        return {}
    return {
        LagPassed.PASS_SECONDS: [((), now.seconds)],
        LagPassed.PASS_TIME: [((), machine_seconds(now.answered))],
    }
