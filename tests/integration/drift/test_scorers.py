"""One scorer, or four of which one is killed: the monitor sees the same windows."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.summaries.summary_layout import ReferenceBins
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.snapshots import document_of
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.reports.status import status_of
from stream_scorer.drift.windows.watermarks import IDLE_MS
from stream_scorer.drift.windows.windows import Windows
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.format import read_reference
from stream_scorer.models.reference.stream_values import LEVEL
from stream_scorer.settings import Kafka
from tests.support.drift.monitors import FILES, SUMMARY
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import PARTITIONS, feed, transactions
from tests.support.models.referenced import referenced_bundle

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

HELD_MS = 24 * 3_600_000
"""The input has events that are a day late: windows wait for them."""
Read = tuple[dict[str, Any], int]


def decided(kafka: Kafka, store: Path, tmp_path: Path, scorers: int) -> list[Read]:
    """Let so many scorers decide the input, killing one of several; return the summaries."""
    variables = {"STREAM_SCORER_MODELS__DIRECTORY": str(store)}
    running = [
        ScorerProcess(
            kafka.model_copy(update={"instance": f"s{number}"}), tmp_path / f"{scorers}-{number}",
            "--from", "earliest", variables=variables,
        )
        for number in range(scorers)
    ]  # fmt: skip

    def left() -> int:
        return sum(each.lag or 0 for each in read_lag(kafka, kafka.group))

    try:
        for each in running:
            each.wait_ready()
        if scorers > 1:
            before = left()
            wait_until(lambda: left() < before, "progress")
            running.pop().kill()
        wait_until(lambda: left() == 0, lambda: f"everything decided: {running[0].said}", 300.0)
    finally:
        for each in running:
            each.send(signal.SIGTERM)
            each.wait()
    return [
        (SUMMARY.decode(message.value(), FILES), message.timestamp()[1])
        for message in read_all(kafka, kafka.topics.summaries)
    ]


def windows(read: list[Read], bins: ReferenceBins) -> tuple[dict[Any, Any], int]:
    """Return the closed windows by name, and the number of late decisions."""
    state = Windows(range(PARTITIONS), HELD_MS)
    cells = int(bins.first_cell[-1])
    found: dict[Any, Any] = {}
    for summary, at in read:
        for each in state.update(summary, at, cells):
            found[each.start, each.version, each.segments] = (
                each.count, each.counts.tolist(), each.score_sum.tolist(), each.log_sum.tolist(),
            )  # fmt: skip
    return found, state.late


def watching(reference: DriftReference) -> DriftWatch:
    """Return the monitor's empty state."""
    budget = AlarmBudget(30.0, 0.5, 0, 2_048)
    return DriftWatch(budget, range(PARTITIONS), HELD_MS, lambda *_: reference)


def late_in_status(read: list[Read], reference: DriftReference) -> int:
    """Return the number of late decisions that ``drift status`` shows after summaries."""
    state = watching(reference)
    for summary, at in read:
        state.update(summary, at)
    return int(status_of(document_of(state, len(read)))["late"])


def alarms(read: list[Read], reference: DriftReference) -> list[Alarm]:
    """Return the alarms of summaries, without the time at which they were found."""
    state = watching(reference)
    found = [alarm for summary, at in read for alarm in state.update(summary, at)]
    return [replace(each, detected_at=0) for each in found if each.kind != "fault"]


def moved(reference: DriftReference) -> DriftReference:
    """Return a reference whose levels are half as far from 1, so that the input alarms."""
    streams = []
    for each in reference.streams:
        by = (1 - each.high) / 2 if each.key.measure == LEVEL else 0.0
        streams.append(replace(each, mean=each.mean + by, low=each.low + by, high=each.high + by))
    return replace(reference, streams=tuple(streams))


def test_four_scorers_and_a_kill_give_the_windows_of_one(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    store = tmp_path / "models"
    referenced_bundle(store)
    data = (store / "fraud" / "1.0.0" / "reference.json").read_bytes()
    reference = read_reference(data, "fraud:1.0.0")
    records = transactions(days=25)
    runs = []
    for scorers in (1, 4):
        ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
        feed(ours, records)
        runs.append(decided(ours, store, tmp_path, scorers))
    (one, no_late), (four, still_no_late) = (windows(read, reference.bins) for read in runs)
    # No window closed without a partition.
    assert (no_late, still_no_late) == (0, 0)
    both = one.keys() & four.keys()
    assert len(both) > 300
    assert {name: one[name] for name in both} == {name: four[name] for name in both}
    found = alarms(runs[0], moved(reference))
    assert found
    assert found == alarms(runs[1], moved(reference))

    # A partition that is read after its time costs decisions, and the status has their number.
    mine = [pair for pair in runs[1] if _only(pair, 0)]
    others = [pair for pair in runs[1] if not _touches(pair, 0)]
    assert mine
    later = [(summary, at + 2 * IDLE_MS) for summary, at in others]
    delayed = [*mine[:1], *later, *((s, at + 3 * IDLE_MS) for s, at in mine[1:])]
    _, late = windows(delayed, reference.bins)
    assert late_in_status(runs[1], reference) == 0
    assert late_in_status(delayed, reference) >= late > 0


def _partitions(pair: Read) -> set[int]:
    return {source["partition"] for source in pair[0]["sources"]}


def _touches(pair: Read, partition: int) -> bool:
    return partition in _partitions(pair)


def _only(pair: Read, partition: int) -> bool:
    return _partitions(pair) == {partition}
