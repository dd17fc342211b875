"""Late and repeated records, dead letters by reason, and the number of events."""

import numpy as np
import pytest

from stream_scorer.drift.quality.arrivals import ArrivalRules
from stream_scorer.drift.quality.contract import REJECTED, QualityFault
from stream_scorer.drift.quality.volume import usual_count, volume_fault
from stream_scorer.drift.windows.contract import ClosedArrivals
from tests.support.drift.watched_stream import HOUR, MONDAY

USUAL = np.full(168, 400.0)


def _arrivals(number: int, records: int = 400, late: int = 0, **rejected: int) -> ClosedArrivals:
    start = MONDAY + number * HOUR
    return ClosedArrivals(start, start + HOUR, records, late, dict(rejected), tiled=True)


def _open(faults: list[QualityFault]) -> list[tuple[str, str]]:
    return [(each.name, each.field) for each in faults if each.open]


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        (_arrivals(1, late=40), ("lateness", "")),
        (_arrivals(1, DUPLICATE=40), ("duplicates", "")),
        (_arrivals(1, MALFORMED=5, UNKNOWN_SCHEMA=4), ("schema_change", "")),
        (_arrivals(1, TIME_AHEAD=8), ("rejects", "TIME_AHEAD")),
        (_arrivals(1, CURRENCY=8), ("new_value", "currency")),
        (_arrivals(1, TOO_LARGE=8), ("rejects", "TOO_LARGE")),
    ],
)
def test_a_fault_is_named_in_its_window(window: ClosedArrivals, fault: tuple[str, str]) -> None:
    rules = ArrivalRules()
    assert rules.arrivals(_arrivals(0)) == []
    found = rules.arrivals(window)
    assert _open(found) == [fault]
    assert (found[0].window_start, found[0].window_end) == (window.start, window.end)
    assert found[0].evidence >= 1
    assert rules.arrivals(_arrivals(2)) == []
    assert [each.open for each in rules.arrivals(_arrivals(3))] == [False]


@pytest.mark.parametrize(
    "window", [_arrivals(1, late=19), _arrivals(1, DUPLICATE=19), _arrivals(1, MALFORMED=3)]
)
def test_less_is_no_fault(window: ClosedArrivals) -> None:
    assert ArrivalRules().arrivals(window) == []


def test_what_is_usual_is_learned() -> None:
    rules = ArrivalRules()
    for number in range(30):
        assert rules.arrivals(_arrivals(number, late=16)) == []
    assert rules.arrivals(_arrivals(30, late=60)) == []
    assert _open(rules.arrivals(_arrivals(31, late=84))) == [("lateness", "")]


def test_a_fault_is_not_learned() -> None:
    rules = ArrivalRules()
    for number in range(30):
        assert rules.arrivals(_arrivals(number)) == []
    for number in range(30, 400):
        assert _open(rules.arrivals(_arrivals(number, late=100))) == [("lateness", "")]


@pytest.mark.parametrize(
    "steady", [{"late": 600}, {"MALFORMED": 110}, {"CURRENCY": 120}, {"DUPLICATE": 600}]
)
def test_what_is_there_from_the_beginning_is_usual_after_a_day(steady: dict[str, int]) -> None:
    rules = ArrivalRules()
    found = [rules.arrivals(_arrivals(n, 10_000, **steady)) for n in range(100)]
    assert [len(_open(each)) for each in found] == [1] * 24 + [0] * 76
    assert [n for n, each in enumerate(found) if each and not each[0].open] == [25]


def test_a_fault_of_the_first_day_is_not_usual() -> None:
    rules = ArrivalRules()
    for number in range(5):
        assert rules.arrivals(_arrivals(number)) == []
    for number in range(5, 15):
        assert _open(rules.arrivals(_arrivals(number, late=60))) == [("lateness", "")]
    for number in range(15, 40):
        assert _open(rules.arrivals(_arrivals(number))) == []
    assert _open(rules.arrivals(_arrivals(40, late=60))) == [("lateness", "")]


def test_rejects_that_the_reference_has_are_usual_at_once() -> None:
    rules, usual = ArrivalRules(), {"CURRENCY": 0.012, "MALFORMED": 0.006, "MAPPING": 0.005}
    window = _arrivals(0, 10_000, CURRENCY=120, MALFORMED=60, MAPPING=50)
    assert rules.arrivals(window, usual) == []
    assert _open(rules.arrivals(_arrivals(1, 10_000, CURRENCY=700), usual)) == [
        ("new_value", "currency")
    ]
    assert len(_open(ArrivalRules().arrivals(window))) == 2


def test_an_unknown_reason_and_an_untiled_window_do_not_count() -> None:
    rules = ArrivalRules()
    assert rules.arrivals(_arrivals(0, NEW_REASON=400)) == []
    broken = _arrivals(1, late=400)
    broken.tiled = False
    assert rules.arrivals(broken) == []
    assert rules.arrivals(_arrivals(2)) == []


def test_few_records_wait() -> None:
    rules = ArrivalRules()
    found = [_open(rules.arrivals(_arrivals(n, records=70, late=20))) for n in range(3)]
    assert found == [[], [], [("lateness", "")]]


def test_a_snapshot_continues_with_the_same_faults() -> None:
    rules = ArrivalRules()
    for number in range(40):
        window = _arrivals(number, records=90, late=number % 7 * 4, DUPLICATE=number % 5 * 3)
        restored, copied = ArrivalRules.restore(rules.snapshot()), rules.copy()
        found = rules.arrivals(window) + _decide(rules, number)
        assert restored.arrivals(window) + _decide(restored, number) == found
        assert copied.arrivals(window) + _decide(copied, number) == found
        assert restored.snapshot() == rules.snapshot() == copied.snapshot()


def _decide(rules: ArrivalRules, number: int) -> list[QualityFault]:
    start = MONDAY + number * HOUR
    return rules.decided(start, start + HOUR, 400 if number % 5 else 20, USUAL)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"records":"x"}'])
def test_another_state_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a state of the rules for the input"):
        ArrivalRules.restore(data)


@pytest.mark.parametrize(
    ("count", "usual", "fault"),
    [
        (400, 400.0, False),
        (150, 400.0, False),
        (120, 400.0, True),
        (0, 400.0, True),
        (1_250, 400.0, True),
        (1_150, 400.0, False),
        (0, 10.0, False),
        (31, 10.0, True),
        (30, 10.0, False),
    ],
)
def test_the_number_of_events(count: int, usual: float, *, fault: bool) -> None:
    found = volume_fault(MONDAY, MONDAY + HOUR, count, usual)
    assert (found is not None) == fault
    assert found is None or (found.name == "volume" and found.evidence >= 1)


def test_the_usual_number_is_of_the_hour_of_the_week() -> None:
    volume = np.arange(168.0)
    assert usual_count(MONDAY, MONDAY + HOUR, volume) == 0
    assert usual_count(MONDAY + 30 * HOUR, MONDAY + 31 * HOUR, volume) == 30
    assert usual_count(MONDAY + 30 * HOUR, MONDAY + 30 * HOUR + HOUR // 4, volume) == 7.5
    assert usual_count(MONDAY + 166 * HOUR, MONDAY + 170 * HOUR, volume) == 166 + 167 + 0 + 1
    assert usual_count(MONDAY, MONDAY + 336 * HOUR, volume) == 2 * volume.sum()


def test_windows_of_several_hours_are_judged_as_a_whole() -> None:
    width = 6 * HOUR
    volume = np.where(np.arange(168) % 6 == 0, 2_400.0, np.nan)
    assert usual_count(MONDAY + width, MONDAY + 2 * width, volume, width) == 2_400
    assert usual_count(MONDAY, MONDAY + 56 * width, volume, width) == 56 * 2_400
    assert np.isnan(usual_count(MONDAY + HOUR, MONDAY + HOUR + width, volume, width))
    rules = ArrivalRules()
    assert rules.decided(MONDAY, MONDAY + width, 2_300, volume, width) == []
    found = rules.decided(MONDAY + 2 * width, MONDAY + 3 * width, 300, volume, width)
    assert [(each.window_start, each.value, each.usual) for each in found] == [
        (MONDAY + width, 0.0, 2_400.0), (MONDAY + 2 * width, 300.0, 2_400.0),
    ]  # fmt: skip


def test_an_hour_without_events_is_found_when_they_continue() -> None:
    rules = ArrivalRules()
    start = MONDAY + 8 * HOUR
    assert rules.decided(start, start + HOUR, 400, USUAL) == []
    found = rules.decided(start + 3 * HOUR, start + 4 * HOUR, 400, USUAL)
    assert [(each.window_start, each.value, each.open) for each in found] == [
        (start + HOUR, 0.0, True),
        (start + 2 * HOUR, 0.0, True),
    ]
    assert rules.decided(start + 4 * HOUR, start + 5 * HOUR, 400, USUAL) != []


def test_hours_before_an_unknown_window_are_not_empty() -> None:
    rules = ArrivalRules()
    start = MONDAY + 8 * HOUR
    assert rules.decided(start, start + HOUR, 400, USUAL) == []
    rules.unknown(start + 5 * HOUR)
    assert rules.decided(start + 5 * HOUR, start + 6 * HOUR, 400, USUAL) == []


def test_the_first_window_is_incomplete() -> None:
    rules = ArrivalRules()
    rules.begin(MONDAY + HOUR - 1)
    rules.begin(MONDAY + 9 * HOUR)
    restored = ArrivalRules.restore(rules.snapshot())
    for each in (rules, restored):
        assert each.decided(MONDAY, MONDAY + HOUR, 66, USUAL) == []
        assert each.decided(MONDAY + HOUR, MONDAY + 2 * HOUR, 400, USUAL) == []
        (fault,) = each.decided(MONDAY + 2 * HOUR, MONDAY + 3 * HOUR, 66, USUAL)
        assert fault.open


def test_an_unknown_hour_is_not_judged() -> None:
    rules = ArrivalRules()
    assert rules.decided(MONDAY, MONDAY + HOUR, 10_000, np.full(168, np.nan)) == []
    assert rules.decided(MONDAY + HOUR, MONDAY + 2 * HOUR, 10_000, np.zeros(168)) == []


def test_the_level_follows_the_traffic_within_days() -> None:
    rules = ArrivalRules()
    counts = [400] * 168 + [4_000] * 168
    found = []
    for hour, count in enumerate(counts):
        start = MONDAY + hour * HOUR
        found += rules.decided(start, start + HOUR, count, USUAL)
    opened = [each for each in found if each.open]
    assert opened[0].window_start == MONDAY + 168 * HOUR
    assert 80 < len(opened) < 90, "half of a week"
    assert not found[-1].open


def test_a_sample_of_the_traffic_is_a_fault_for_a_day_only() -> None:
    rules = ArrivalRules()
    found = []
    for hour in range(72):
        start = MONDAY + hour * HOUR
        found += rules.decided(start, start + HOUR, 40_000, USUAL)
    assert len([each for each in found if each.open]) == 24
    assert [each.open for each in found][-1] is False
    late = MONDAY + 72 * HOUR
    assert _open(rules.decided(late, late + HOUR, 10_000, USUAL)) == [("volume", "")]


def test_the_level_is_of_the_input_and_of_no_reference() -> None:
    rules, sample = ArrivalRules(), USUAL / 10
    windows = [(400, USUAL)] * 48 + [(400, sample)] * 48 + [(40, sample), (400, USUAL)]
    found = [
        _open(rules.decided(MONDAY + n * HOUR, MONDAY + (n + 1) * HOUR, *window))
        for n, window in enumerate(windows)
    ]
    assert [n for n, each in enumerate(found) if each] == [96]


def test_a_year_without_events_costs_a_week_of_judgements() -> None:
    rules = ArrivalRules()
    rules.decided(MONDAY, MONDAY + HOUR, 400, USUAL)
    later = MONDAY + 10_000 * HOUR
    assert len(rules.decided(later, later + HOUR, 400, USUAL)) == 168


def test_a_currency_unknown_to_the_plan_is_a_new_value() -> None:
    (fault,) = ArrivalRules().arrivals(_arrivals(0, CURRENCY=8))
    assert (fault.name, fault.field, fault.segment) == ("new_value", "currency", REJECTED)
