"""The number of events of the input: over all versions, from the first complete window on."""

from collections.abc import Iterable, Mapping
from typing import Any

from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.watch import DriftWatch
from tests.support.drift.synthetic import HOUR, ROWS, START, summaries, watch

Arms = Mapping[str, int]
"""Events of each version."""
CHAMPION: Arms = {"1": ROWS}


def of_arms(hours: Iterable[tuple[int, Arms]]) -> list[tuple[dict[str, Any], int]]:
    """Return summaries of some hours, with other numbers of events than their counts have."""
    found = []
    for number, (hour, arms) in enumerate(hours):
        for version, count in arms.items():
            ((summary, at),) = summaries(1, first=hour, version=version)
            summary["windows"][0]["count"] = count
            if version == max(arms):
                offsets = {"first_offset": number * 1_000, "next_offset": number * 1_000 + 1_000}
                summary["sources"][0] |= offsets
            else:
                summary["sources"] = []
            found.append((summary, at))
    return found


def volumes(state: DriftWatch, told: Iterable[tuple[dict[str, Any], int]]) -> list[Alarm]:
    """Return the faults of the number of events."""
    found = [alarm for summary, at in told for alarm in state.update(summary, at)]
    return [alarm for alarm in found if alarm.stream == "volume"]


def test_a_fall_of_the_traffic_is_found_with_two_arms() -> None:
    hours = [(n, {"1": 200, "2": 200} if n < 60 else {"1": 40, "2": 40}) for n in range(64)]
    (fault,) = volumes(watch(), of_arms(hours))
    assert (fault.change, fault.window_start) == ("opened", START + 60 * HOUR)
    assert (fault.before, fault.after) == (400.0, 80.0)


def test_traffic_that_moves_to_one_arm_is_no_fault() -> None:
    four = {str(number): 100 for number in range(1, 5)}
    assert volumes(watch(), of_arms([(n, four if n < 48 else CHAMPION) for n in range(56)])) == []
    assert volumes(watch(), of_arms([(n, CHAMPION if n < 48 else four) for n in range(56)])) == []
