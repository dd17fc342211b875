"""The monitor's events do not depend on the batches, and aborted batches leave no trace."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.drift.monitor import MonitorWork, monitor_loop
from stream_scorer.drift.watch import DriftWatch
from stream_scorer.errors import RegistryUnavailableError, SettingsError
from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.registry.sources import FileRegistry, SchemaSource, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Monitor, Settings
from stream_scorer.telemetry import DriftDetected, Event, RecordsSkipped
from tests.support.drift.simulated import (
    DAY_MS,
    FIRST_MS,
    HOUR_MS,
    NOW_MS,
    PARTITIONS,
    changed,
    summaries,
    transactions,
)

FILES = FileRegistry(SCHEMAS_DIRECTORY)
SUMMARY = RecordCodec(10, reader_schema("summary.v2"))
EVENT = RecordCodec(5, reader_schema("drift-event.v1"))
CHANGE_MS = FIRST_MS + 8 * DAY_MS


@pytest.fixture(scope="module")
def values() -> list[bytes]:
    table = changed(transactions(16), 8, 2.0, 4)
    return [SUMMARY.encode(summary) for summary in summaries(table, batch=2_500)]


class Down:
    """A registry that is unreachable."""

    def writer_schema(self, _: int) -> str:
        raise RegistryUnavailableError("registry: no answer")

    def id_for(self, *_: str) -> int:
        raise RegistryUnavailableError("registry: no answer")


class Replay:
    """A replay of records in memory, some at a time."""

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self._values = values
        self.partition, self.low, self.end, self.next_offset = 0, 0, len(values), 0

    def step(self) -> RawRecords | None:
        part = raw(self._values[self.next_offset : self.next_offset + 10], self.next_offset)
        self.next_offset += len(part)
        return part

    @property
    def done(self) -> bool:
        return self.next_offset == self.end

    def close(self) -> None:
        pass


def raw(values: Sequence[bytes | None], first: int = 0) -> RawRecords:
    n = len(values)
    return RawRecords(
        values=BytesColumn.of(values),
        keys=BytesColumn.nulls(n),
        headers=None,
        partition=np.zeros(n, np.int32),
        offset=np.arange(first, first + n, dtype=np.int64),
        timestamp=NOW_MS + np.arange(first, first + n, dtype=np.int64),
    )


def work(
    told: list[Event] | None = None,
    registry: SchemaSource = FILES,
    retained: Sequence[bytes | None] = (),
) -> MonitorWork:
    def replay_of(_: int, end: int) -> Any:
        return Replay(retained[:end]) if end else None

    return MonitorWork(
        lambda: DriftWatch(("score", "amount"), 0.0005, range(PARTITIONS), HOUR_MS),
        registry,
        RecordCodec(5, reader_schema("drift-event.v1")),
        "drift-events",
        (told if told is not None else []).append,
        replay_of,
        lambda: NOW_MS,
    )


def events(result: Result[Any]) -> list[dict[str, Any]]:
    return [EVENT.decode(value or b"", FILES) for out in result.outgoing for value in out.values]


def run(monitor: MonitorWork, values: Sequence[bytes | None], size: int) -> list[dict[str, Any]]:
    found = []
    for at in range(0, len(values), size):
        batch = raw(values[at : at + size], at)
        result = monitor.compute(batch, Stages())
        monitor.keep(result, Stages(), batch)
        found += events(result)
    return found


def test_a_change_becomes_events_with_time_and_signal(values: list[bytes]) -> None:
    told: list[Event] = []
    found = run(work(told), values, 5)
    assert {event["signal"] for event in found} == {"score", "amount"}
    assert [DriftDetected("adwin", event["signal"]) for event in found] == told
    assert found[0]["window_end"].timestamp() * 1_000 <= CHANGE_MS + DAY_MS
    for event in found:
        assert event["window_start"].timestamp() * 1_000 >= CHANGE_MS
        assert event["estimate"] > event["reference"]
        assert (event["model"], event["model_version"]) == ("fraud", "1.0.0")


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_events_do_not_depend_on_the_batches(values: list[bytes], size: int) -> None:
    assert run(work(), values, size) == run(work(), values, 5)


def test_an_aborted_batch_leaves_no_trace(values: list[bytes]) -> None:
    monitor = work()
    found = []
    for at in range(0, len(values), 5):
        batch, ahead = raw(values[at : at + 5], at), raw(values[at + 5 : at + 10], at + 5)
        first = monitor.compute(batch, Stages())
        second = monitor.compute(ahead, Stages())
        monitor.undo(second)
        monitor.undo(first)
        result = monitor.compute(batch, Stages())
        monitor.keep(result, Stages(), batch)
        found += events(result)
    assert found == run(work(), values, 5)


@pytest.mark.parametrize("half", [0.3, 0.6])
def test_a_restart_remembers_and_does_not_repeat(values: list[bytes], half: float) -> None:
    cut = int(len(values) * half)
    told: list[Event] = []
    before = run(work(), values[:cut], 5)
    restarted = work(told, retained=values)
    restarted.assigned({0: cut})
    ready: set[int] = set()
    while restarted.restoring():
        ready |= restarted.restore()
    assert ready == {0}
    assert not any(isinstance(one, DriftDetected) for one in told)
    assert before + run(restarted, values[cut:], 5) == run(work(), values, 5)


def test_an_outage_of_the_registry_pauses_and_leaves_no_trace(values: list[bytes]) -> None:
    with pytest.raises(Paused, match="no answer") as pause:
        work(registry=Down()).compute(raw(values[:1]), Stages())
    assert pause.value.dependency == "registry"


def test_a_record_that_is_not_a_summary_is_counted_and_ignored(values: list[bytes]) -> None:
    foreign: list[bytes | None] = [None, b"text", b"\0\0\0\0\x09", EVENT.encode(_event())]
    monitor = work()
    result = monitor.compute(raw(foreign), Stages())
    committed = monitor.keep(result, Stages(), raw(foreign))
    assert dict(committed.rejected) == {"MALFORMED": 4}
    assert committed.next_offsets == {0: 4}
    assert run(monitor, values, 5) == run(work(), values, 5)


def test_windows_that_never_close_are_limited_and_counted(values: list[bytes]) -> None:
    future = NOW_MS + 1_000 * DAY_MS
    forged = [forgery(future + 4_000 * number * HOUR_MS, 4_000) for number in range(4)]
    told: list[Event] = []
    monitor = work(told)
    result = monitor.compute(raw(forged), Stages())
    committed = monitor.keep(result, Stages(), raw(forged))
    assert dict(committed.rejected) == {"MALFORMED": 2}
    (skipped,) = (event for event in told if isinstance(event, RecordsSkipped))
    assert (skipped.topic, skipped.records, skipped.offset) == ("summaries", 2, 2)
    assert "more than 10000 windows are open" in skipped.why
    assert run(monitor, values, 5) == run(work(), values, 5)


def test_the_name_of_a_version_is_limited() -> None:
    forged = [forgery(NOW_MS, 1, model="m" * 1_025), forgery(NOW_MS, 1, model_version="1" * 1_025)]
    monitor = work()
    result = monitor.compute(raw(forged), Stages())
    committed = monitor.keep(result, Stages(), raw(forged))
    assert dict(committed.rejected) == {"MALFORMED": 2}


def test_an_unknown_signal_is_refused_in_one_line() -> None:
    settings = Settings(monitor=Monitor(signals=("score", "mood")))
    with pytest.raises(SettingsError, match=r"monitor.signals: unknown signal 'mood' — known are"):
        monitor_loop(settings, Deployment(), lambda _: None)


def forgery(start: int, windows: int, **changed: str) -> bytes:
    """Return a well-formed summary of so many windows of an hour, one after another."""
    window = {
        "partition": 0, "width_ms": HOUR_MS, "count": 1, "review": 0, "block": 0,
        "score_sum": 0.5, "amount_minor_sum": 1, "amount_minor_min": 1, "amount_minor_max": 1,
        "score_bins": [], "amount_bins": [],
    }  # fmt: skip
    return SUMMARY.encode(
        {
            "model": "fraud", "model_version": "1.0.0", "arm": "champion", "plan_revision": 0,
            "records": windows, "rejected": {}, "flagged": {}, "sources": [],
            "windows": [window | {"start": start + n * HOUR_MS} for n in range(windows)],
            **changed,
        }
    )  # fmt: skip


def _event() -> dict[str, Any]:
    numbers = dict.fromkeys(("value", "reference", "estimate"), 1.0)
    names = dict.fromkeys(("signal", "detector", "model", "model_version"), "x")
    times = dict.fromkeys(("detected_at", "window_start", "window_end", "observations"), 1)
    return numbers | names | times
