"""The monitor finds the demo's change within three windows, and nothing before it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.demo.found import WINDOWS_MOST, found
from stream_scorer.demo.input import traffic
from stream_scorer.demo.referenced_model import history, write_referenced_model
from stream_scorer.demo.run import QUICK, Size
from stream_scorer.drift.alarms.contract import Alarm
from tests.support.drift.demo_fold import folded


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store: Path = tmp_path_factory.mktemp("models")
    assert write_referenced_model(store) == "fraud:1.1.1"
    return store


@pytest.mark.thorough
@pytest.mark.parametrize("size", [QUICK, Size()])
def test_the_change_is_found_in_time_and_nothing_before(store: Path, size: Size) -> None:
    sent = traffic(size.days)
    _, alarms = folded(store, "fraud:1.1.1", sent)
    result = found([_event(each) for each in alarms], sent.change_ms, sent.times)
    assert (result.early, result.faults) == (0, ())
    assert result.windows is not None
    assert result.windows <= WINDOWS_MOST


def _event(alarm: Alarm) -> dict[str, Any]:
    times = {
        name: datetime.fromtimestamp(getattr(alarm, name) / 1_000, UTC)
        for name in ("window_start", "window_end")
    }
    return {"kind": alarm.kind, "change": alarm.change, "signal": alarm.stream, **times}


@pytest.mark.thorough
def test_the_reference_is_of_days_before_the_demo() -> None:
    rows, sent = history(), traffic(1)
    times = rows["event_time"].cast("int64").to_numpy()
    assert (times[1:] >= times[:-1]).all()
    first = int(sent.times[0]) // 86_400_000 * 86_400_000
    assert times[-1] < first
    assert (first - times[0] // 86_400_000 * 86_400_000) % (7 * 86_400_000) == 0
