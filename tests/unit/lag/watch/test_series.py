"""The metrics of a pass."""

import math
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stream_scorer.lag.verdicts.sample import LagVerdict
from stream_scorer.lag.watch.passes import LagPasses
from stream_scorer.lag.watch.series import LagSeries
from tests.support.lag.fake_brokers import AT, ScriptedBrokers, passes


def scraped(brokers: ScriptedBrokers, count: int = 2, most: int = 50_000) -> dict[str, float]:
    watch = passes(brokers)
    for _ in range(count):
        watch.run()
        brokers.time += 10
    return shown(watch, most)


def shown(watch: LagPasses, most: int = 50_000) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(LagSeries(lambda: watch.snapshot, most))
    lines = generate_latest(registry).decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name.removeprefix("stream_scorer_"): float(value) for name, _, value in samples}


def two_partitions() -> ScriptedBrokers:
    brokers = ScriptedBrokers()
    brokers.partition(130, stable=120, start=7)
    brokers.partition(50, at=("transactions", 1))
    brokers.group({AT: 100, ("transactions", 1): 50})
    return brokers


def test_a_partition_has_its_numbers() -> None:
    found = scraped(two_partitions())
    labels = '{group="g",partition="0",topic="transactions"}'
    assert found[f"group_lag_records{labels}"] == 30
    assert found[f"group_lag_stable_records{labels}"] == 20
    assert found[f"group_input_records_per_second{labels}"] == 0
    assert found[f"group_drain_seconds{labels}"] == math.inf
    assert found[f"group_lost_records_total{labels}"] == 0
    assert found['topic_start_offset{partition="0",topic="transactions"}'] == 7
    assert found['topic_stable_offset{partition="0",topic="transactions"}'] == 120
    assert found['topic_end_offset{partition="0",topic="transactions"}'] == 130


def test_every_verdict_of_a_group_has_a_series() -> None:
    found = scraped(two_partitions())
    counts = {
        verdict: found[f'group_partitions{{group="g",topic="transactions",verdict="{verdict}"}}']
        for verdict in LagVerdict
    }
    assert counts == {
        verdict: float(verdict in {LagVerdict.OK, LagVerdict.STALLED}) for verdict in LagVerdict
    }
    assert found['group_worst_verdict{group="g",verdict="STALLED"}'] == 1
    assert found['group_worst_verdict{group="g",verdict="OK"}'] == 0
    assert found['group_members{group="g"}'] == 1


def test_what_is_not_known_has_no_series_and_nothing_is_nan() -> None:
    found = scraped(two_partitions(), count=1)
    labels = '{group="g",partition="0",topic="transactions"}'
    assert f"group_lag_seconds{labels}" not in found
    assert f"group_drain_seconds{labels}" not in found
    assert not [name for name, value in found.items() if math.isnan(value)]


def test_before_the_first_pass_only_the_names_are_there() -> None:
    assert scraped(ScriptedBrokers(), count=0) == {
        "lag_series_left_out": 0.0,
        "lag_groups_left_out": 0.0,
    }


def test_the_time_of_a_pass_is_that_of_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # LagProcessAbsent pages by it when no broker answers.
    brokers = two_partitions()
    watch = passes(brokers)
    watch.run()
    answered = brokers.time
    brokers.time, brokers.error = answered + 10, "broker b:1: timed out"
    watch.run()
    assert shown(watch)["lag_pass_time_seconds"] == pytest.approx(answered, abs=1e-3)
    # Prometheus compares it with its own clock, so it follows the machine's, which may be set.
    set_to = time.time() + 3_600
    monkeypatch.setattr(time, "time", lambda: set_to)
    assert shown(watch)["lag_pass_time_seconds"] == pytest.approx(answered + 3_600, abs=5)


def test_too_many_partitions_leave_the_groups_series() -> None:
    # Ten series for a partition of the group, three for one of the topic.
    assert scraped(two_partitions(), most=26)["lag_series_left_out"] == 0
    found = scraped(two_partitions(), most=25)
    assert found["lag_series_left_out"] == 2
    assert not [name for name in found if "partition=" in name]
    assert found['group_partitions{group="g",topic="transactions",verdict="OK"}'] == 1


def test_too_many_topics_leave_the_heaviest_verdicts() -> None:
    brokers = ScriptedBrokers()
    places = [(f"t{number:02}", 0) for number in range(10)]
    for at in places:
        brokers.partition(50, at=at)
    stalled = places[7]
    brokers.group({at: 40 if at == stalled else 50 for at in places})
    name = 'group_partitions{{group="g",topic="{}",verdict="{}"}}'
    found = scraped(brokers, most=90)
    assert len([each for each in found if each.startswith("group_partitions{")]) == 90
    found = scraped(brokers, most=4)
    assert {
        each: value for each, value in found.items() if each.startswith("group_partitions{")
    } == {
        name.format("t07", "STALLED"): 1,
        **{name.format(topic, "OK"): 1 for topic in ("t00", "t01", "t02")},
    }
