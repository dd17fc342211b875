"""Killed 20 times, without its file and with an old one, performance publishes the same bytes."""

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.settings import Kafka
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Api, Behind, Direction
from tests.support.performance.published import EVENT, FILES, WINDOW, city, publish, published

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.timeout(600)]

KILLS = 20
DIRECTIONS: tuple[Direction, ...] = ("request", "answer")
LOST, OLD = 7, 13
"""Before which kill the file is removed, and before which it is replaced by one from before."""


class KeptFile:
    """The process's file, which is removed once, and once replaced by one from before."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def before(self, kill: int) -> None:
        """Do what is due before a kill; no process has the file."""
        if kill == LOST:
            for each in self._folder.glob(f"{self._name}*"):
                each.unlink()
        if kill == OLD - 2:
            for each in list(self._folder.glob(f"{self._name}*")):
                shutil.copy(each, self._folder / f"old-{each.name}")
        if kill == OLD:
            for each in self._folder.glob(f"{self._name}*"):
                each.unlink()
            for each in self._folder.glob(f"old-{self._name}*"):
                shutil.copy(each, self._folder / each.name.removeprefix("old-"))


def test_kills_change_no_byte(
    behind: Behind,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    calm = kafka_topics(kafka_settings(bootstrap=behind.bootstrap))
    rough = kafka_topics(kafka_settings(bootstrap=behind.bootstrap))
    records = city()

    def performance(kafka: Kafka, name: str) -> ScorerProcess:
        variables = {
            "STREAM_SCORER_PERFORMANCE__GROUP": f"{kafka.group}-performance",
            "STREAM_SCORER_PERFORMANCE__STATE": str(tmp_path / f"{kafka.group}.sqlite"),
            "STREAM_SCORER_SCORER__MAXIMUM_BATCH": "700",
        }
        log = tmp_path / f"{name}.log"
        return ScorerProcess(kafka, log, variables=variables, command="performance")

    def finish(kafka: Kafka, name: str) -> None:
        def done() -> bool:
            group = f"{kafka.group}-performance"
            lag = read_lag(kafka, group, kafka.topics.decisions, seconds=True)
            return bool(lag) and not any(each.seconds for each in lag)

        with performance(kafka, name) as process:
            process.wait_ready()
            wait_until(done, lambda: f"everything read: {process.said}", 120.0)
            process.send(signal.SIGTERM)
            assert process.wait() == 0, process.said

    publish(calm, records)
    finish(calm, "calm")

    chance = random.Random(20)  # noqa: S311 a test's choice, no secret
    edges = sorted(chance.sample(range(3_000, len(records)), KILLS - 1))
    kept = KeptFile(tmp_path, f"{rough.group}.sqlite")
    for number, (first, last) in enumerate(zip([0, *edges], [*edges, len(records)], strict=True)):
        publish(rough, records[first:last])
        kept.before(number)
        direction = chance.choice(DIRECTIONS)
        with performance(rough, str(number)) as process:
            behind.kill_at(behind.proxy.fault(Api.END_TXN, direction), process)
    finish(rough, "last")

    windows, events = published(rough)
    expected_windows, expected_events = published(calm)
    assert len(expected_windows) > 60
    assert len(expected_events) == 1
    # The two runs differ in the Kafka times of their records only if these were sent twice.
    assert windows == expected_windows
    assert events == expected_events
    event = EVENT.decode(events[0], FILES)
    assert event["kind"] == "performance"
    assert event["signal"] == "loss/day@all"
    kinds = [WINDOW.decode(value, FILES)["kind"] for value in windows]
    assert {"DAY", "WEEK", "LOSS"} == set(kinds)
