"""Offsets that change in another way than by reading: losses and rewinds."""

from dataclasses import replace

import pytest

from stream_scorer.lag.verdicts.append_times import LogEndCurve
from stream_scorer.lag.verdicts.history import LagHistory
from stream_scorer.lag.verdicts.judge import judge
from stream_scorer.lag.verdicts.sample import LagSample, LagVerdict
from tests.support.lag.scripts import OWNER, RULES, Observer, healthy, later


def test_lost_records_count_once() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    at = last.committed or 0
    for start in (at + 100, at + 100, at + 150):
        last = later(last, start=start, committed=at)
        found = observer.see(last)
    assert (found.verdict, found.lost) == (LagVerdict.LOST, 150)
    for _ in range(RULES.window):
        last = later(last)
        found = observer.see(last)
    assert (found.verdict, found.lost) == (LagVerdict.OK, 150)


@pytest.mark.parametrize(
    ("gone", "left", "lost"), [(1, 0, 0), (10, 0, 0), (11, 0, 11), (1, 5, 0), (2, 5, 2)]
)
def test_at_first_sight_deleted_markers_are_no_loss(gone: int, left: int, lost: int) -> None:
    observer, start = Observer(), 20_000
    end = start + left
    last = replace(
        healthy()[-1], committed=start - gone, start=start, stable=end, high=end, readable=False,
        members=0, owner="",
    )  # fmt: skip
    found = [observer.see(replace(last, time=last.time + n * RULES.interval)) for n in range(3)]
    verdict = LagVerdict.LOST if lost else LagVerdict.EMPTY
    assert (found[-1].verdict, found[-1].lost) == (verdict, lost)


def test_a_group_set_to_before_the_log_s_start_loses_records() -> None:
    observer, last = Observer(), healthy()[-1]
    last = replace(last, start=10_000)
    observer.see(last)
    assert observer.see(later(last, committed=9_950)).lost == 50


def test_markers_of_uncommitted_readers_are_no_loss() -> None:
    observer, last = Observer(), healthy()[-1]
    last = replace(last, stable=19_000, committed=20_000, high=20_003, readable=False)
    observer.see(last)
    gone = replace(last, time=last.time + RULES.interval, start=20_003, readable=None)
    assert observer.see(gone).lost == 0


@pytest.mark.parametrize(
    ("changes", "then"),
    [({}, LagVerdict.STALLED), ({"members": 0, "owner": ""}, LagVerdict.STOPPED)],
)
def test_a_loss_is_reported_for_a_minute(changes: dict[str, object], then: LagVerdict) -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    at, found = last.committed or 0, []
    for number in range(3 * RULES.window):
        # Retention deletes once more when the first loss is nearly over.
        start = at + (100 if number < RULES.window - 1 else 150)
        last = later(last, start=start, committed=at, **changes)
        found.append(observer.see(last).verdict)
    lost = 2 * RULES.window - 1
    assert found == [LagVerdict.LOST] * lost + [then] * (len(found) - lost)


def test_a_deleted_marker_is_no_loss() -> None:
    observer, last = Observer(), healthy()[-1]
    end = last.high or 0
    # All records are read; the marker of their transaction is left.
    last = later(last, high=end, stable=end, committed=end - 1, readable=False)
    observer.see(last)
    gone = later(last, high=end, stable=end, committed=end - 1, start=end, readable=None)
    found = observer.see(gone)
    assert (found.verdict, found.lost) == (LagVerdict.OK, 0)
    # What came after it and was deleted unread is lost.
    gone = later(gone, high=end + 9, stable=end + 9, committed=end - 1, start=end + 9)
    assert observer.see(gone).lost == 9


def test_a_loss_in_a_topic_that_was_made_again_is_reported() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    last = later(last, start=last.high, committed=last.committed)
    lost = observer.see(last).lost
    for _ in range(RULES.window + 1):
        last = later(last, high=50, stable=50, start=0, committed=50)
        found = observer.see(last)
    assert (found.verdict, found.lost) == (LagVerdict.OK, lost)
    found = observer.see(later(last, high=300, stable=300, start=120, committed=50))
    assert (found.verdict, found.lost) == (LagVerdict.LOST, lost + 70)


def test_a_topic_that_was_made_again_is_rewound() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    found = observer.see(replace(last, time=last.time + RULES.interval, high=5, stable=5, start=0))
    assert found.verdict is LagVerdict.REWOUND
    assert "made again" in found.reason


def test_an_offset_that_has_expired_is_a_rewind() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    assert observer.see(later(last, committed=None)).verdict is LagVerdict.REWOUND


def test_a_rewind_is_reported_for_the_window() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    last = later(last, committed=1_000)
    found = [observer.see(last).verdict]
    for _ in range(RULES.window + 1):
        # A fast group has read everything again at the next look.
        last = later(last)
        found.append(observer.see(last).verdict)
    assert found == [LagVerdict.REWOUND] * RULES.window + [LagVerdict.OK] * 2


def test_a_rewind_is_reported_until_it_was_scraped() -> None:
    # Six intervals of a second would be over before Prometheus comes.
    history = LagHistory(replace(RULES, interval=1.0), LogEndCurve())
    offset, found = 1_000, []
    for second in range(70):
        offset = 0 if second == 5 else offset + 10
        history.add(LagSample(float(second), 0, 10_000, 10_000, offset, 1, OWNER))
        found.append(judge(history).verdict)
    assert found[5:65] == [LagVerdict.REWOUND] * 60
    assert LagVerdict.REWOUND not in found[65:]
