"""The counts and the gates of the bench of planned changes."""

from typing import Any

import numpy as np
import pytest

from bench.verdicts.handover import MOST_PAUSE_SECONDS, Phase, counted, failures, report


def times(gap_ms: int = 0) -> tuple[dict[Any, int], list[Any]]:
    """Return a record a second in two partitions, decided after 50 ms; 0's fifth waits longer."""
    arrived = {(p, o): 1_000 * o for p in range(2) for o in range(10)}
    outcomes = [
        ((p, o), max(at + 50, 5_050 + gap_ms if (p == 0 and o >= 5) else 0))
        for (p, o), at in arrived.items()
    ]
    return arrived, outcomes


PHASES = [Phase("steady", 0), Phase("scale-out to 2", 4_500, moved=2)]


def document(gap_ms: int = 0) -> dict[str, Any]:
    return report(counted(*times(gap_ms)), PHASES, customers=7)


def test_a_pause_is_the_time_in_which_a_record_waited_undecided() -> None:
    found = document(gap_ms=3_000)
    steady, scaled = found["phases"]
    assert (steady["pause_seconds"], steady["decisions"]) == (0.05, 10)
    assert (scaled["pause_seconds"], scaled["partition"]) == (3.05, 0)
    assert scaled["oldest_seconds"] == 3.05
    assert failures(found) == []


def test_time_without_arrivals_is_not_a_pause() -> None:
    arrived = {(0, 0): 0, (0, 1): 60_000}
    found = report(counted(arrived, [((0, 0), 50), ((0, 1), 60_050)]), PHASES[:1], 1)
    assert found["longest_pause_seconds"] == 0.05


def test_short_gaps_in_a_row_are_not_one_long_pause() -> None:
    arrived = {(0, offset): 0 for offset in range(20)}
    outcomes = [((0, offset), 1_000 * (offset + 1)) for offset in range(20)]
    (row,) = report(counted(arrived, outcomes), PHASES[:1], 1)["phases"]
    assert (row["pause_seconds"], row["oldest_seconds"]) == (1.0, 20.0)


def test_a_pause_fails_just_past_what_is_allowed() -> None:
    most = round(MOST_PAUSE_SECONDS * 1_000)
    assert failures(document(gap_ms=most - 50)) == []
    (line,) = failures(document(gap_ms=most - 40))
    assert line == "scale-out to 2: partition 0 paused for 10.01 s, must be at most 10"


def test_what_is_lost_or_decided_twice_fails() -> None:
    arrived, outcomes = times()
    found = report(counted(arrived, [*outcomes[1:], outcomes[4], outcomes[4]]), PHASES, 7)
    assert (found["lost"], found["duplicates"]) == (1, 2)
    assert [line.partition(" input")[0] for line in failures(found)] == ["1", "2"]


def test_a_change_in_which_nothing_moved_fails() -> None:
    found = report(counted(*times()), [PHASES[0], Phase("scale-out to 2", 4_500)], 7)
    assert failures(found) == ["scale-out to 2: no partition changed hands"]


def test_a_phase_in_which_nothing_was_decided_fails() -> None:
    found = report(counted(*times()), [*PHASES, Phase("restart of 0", 60_000, moved=1)], 7)
    assert failures(found) == ["restart of 0: nothing was decided"]


def test_outcomes_of_what_was_not_sent_are_refused() -> None:
    with pytest.raises(ValueError, match="1 outcomes of no input record"):
        counted({(0, 0): 1}, [((0, 1), 2)])


def test_times_are_paired_by_offset_however_they_come() -> None:
    arrived, outcomes = times()
    found = counted(arrived, reversed(outcomes))
    assert np.array_equal(found.partitions[1].ages(), np.full(10, 50))
