"""The monitor finds the demo's change within three windows, and nothing before it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.demo.city import SENT_MOST, known_days, sent_days
from stream_scorer.demo.found import WINDOWS_MOST, found
from stream_scorer.demo.input import traffic
from stream_scorer.demo.referenced_model import write_referenced_model
from stream_scorer.demo.run import QUICK, Size
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.drift.demo_fold import folded


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store: Path = tmp_path_factory.mktemp("models")
    assert write_referenced_model(store) == "fraud:1.1.2"
    return store


@pytest.mark.thorough
@pytest.mark.parametrize("size", [QUICK, Size()])
def test_the_change_is_found_in_time_and_nothing_before(store: Path, size: Size) -> None:
    sent = traffic(size.days)
    _, alarms = folded(store, "fraud:1.1.2", sent)
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
def test_model_and_reference_know_no_day_that_is_sent() -> None:
    known, sent = (
        rows["event_time"].cast("int64").to_numpy() for rows in (known_days(), sent_days(SENT_MOST))
    )
    assert (sent[1:] >= sent[:-1]).all()
    assert known[-1] // 86_400_000 + 1 == sent[0] // 86_400_000
    training = load_bundle(MODELS_DIRECTORY / "fraud" / "1.1.1").manifest.training
    assert training.test is not None
    last = date(1970, 1, 1) + timedelta(days=int(known[-1]) // 86_400_000)
    assert training.test.period.last_day == last
    assert sent[-1] // 86_400_000 - sent[0] // 86_400_000 == SENT_MOST - 1


@pytest.mark.thorough
def test_compromised_terminals_are_as_many_on_all_sent_days() -> None:
    """Otherwise their risk rises while the demo runs, and the monitor reports that, too."""
    rows = sent_days(SENT_MOST)
    day = rows["event_time"].cast("int64").to_numpy() // 86_400_000
    stolen = (rows["fraud_scenario"].to_numpy() == 2).astype(float)
    weeks = [stolen[(day - day[0]) // 7 == week].mean() for week in range(4)]
    assert max(weeks) < 1.5 * min(weeks)


def test_more_days_than_there_are_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="29 days; at most 28"):
        sent_days(SENT_MOST + 1)
