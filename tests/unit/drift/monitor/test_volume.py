"""The number of events of the input: over all versions, from the first complete window on."""

from collections.abc import Iterable, Mapping
from typing import Any

from stream_scorer.drift.alarms.contract import Alarm, Severity
from stream_scorer.drift.monitor.watch import DriftWatch
from tests.support.drift.synthetic import HOUR, ROWS, START, summaries, watch

Arms = Mapping[str, int]
"""Events of each version."""
CHAMPION: Arms = {"1": ROWS}


def of_arms(hours: Iterable[tuple[int, Arms]]) -> list[tuple[dict[str, Any], int]]:
    """Return the summaries of some hours, whose offsets follow each other."""
    found = []
    for number, (hour, arms) in enumerate(hours):
        for version, count in arms.items():
            ((summary, at),) = summaries(1, first=hour, version=version, rows=count)
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


def test_no_events_wake_nobody_when_the_input_is_back() -> None:
    state = watch()
    assert volumes(state, of_arms([(hour, CHAMPION) for hour in range(30)])) == []
    told = of_arms([(hour, CHAMPION) for hour in (*range(30), *range(50, 54))])[30:]
    begun, over = volumes(state, told)
    assert (begun.after, begun.severity) == (0.0, Severity.WARN)
    assert (begun.window_start, begun.detected_at) == (START + 30 * HOUR, START + 51 * HOUR)
    assert over.change == "closed"


def test_a_first_window_that_begins_late_is_no_fault() -> None:
    assert (
        volumes(watch(), of_arms([(hour, {"1": 66 if hour == 0 else ROWS}) for hour in range(4)]))
        == []
    )


def test_old_events_of_the_first_summary_are_no_outage() -> None:
    told = of_arms([(hour, CHAMPION) for hour in range(4)])
    ((old, _),) = of_arms([(0, {"1": 2})])
    old["windows"][0]["start"] -= 1_440 * HOUR
    told[0][0]["windows"][:0] = old["windows"]
    assert volumes(watch(), told) == []


def test_a_first_watermark_in_the_future_blinds_nobody() -> None:
    told = of_arms([(hour, {"1": 66 if hour == 3 else ROWS}) for hour in range(5)])
    told[0][0]["sources"][0]["watermark"] += 1_000 * HOUR
    (fault,) = volumes(watch(), told)
    assert fault.window_start == START + 3 * HOUR
