"""Each fault is named in the window in which it begins; a drift never is one."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.missing import excess_limit
from stream_scorer.drift.quality.rules import QualityRules
from stream_scorer.models.reference.contract import DriftReference
from tests.support.drift.watched_stream import HOUR, MONDAY, Change, Columns, WatchedStream

BEGIN = MONDAY + 28 * 24 * HOUR


@pytest.fixture(scope="module")
def stream() -> WatchedStream:
    return WatchedStream(1, rate=1_500)


@pytest.fixture(scope="module")
def reference(stream: WatchedStream) -> DriftReference:
    return stream.reference(days=7)


@pytest.fixture
def rules(reference: DriftReference) -> QualityRules:
    return QualityRules(reference)


def _scaled(factor: float, channel: str = "") -> Change:
    def change(columns: Columns) -> None:
        rows = columns["channel"] == channel.encode() if channel else slice(None)
        columns["amount"][rows] = np.rint(columns["amount"][rows] * factor)

    return change


def _share(name: str, share: float, value: object) -> Change:
    def change(columns: Columns) -> None:
        columns[name][: round(share * len(columns[name]))] = value

    return change


def _names(faults: list[QualityFault]) -> list[tuple[str, str, str]]:
    return [(each.name, each.field, each.segment) for each in faults if each.open]


def _window(
    stream: WatchedStream, rules: QualityRules, number: int, change: Change | None = None
) -> list[QualityFault]:
    return rules.window(stream.window(BEGIN + number * HOUR, change))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_scaled(100), ("unit_change", "amount", "all")),
        (_scaled(0.01), ("unit_change", "amount", "all")),
        (_scaled(1_000), ("unit_change", "amount", "all")),
        (_scaled(100, "web"), ("unit_change", "amount", "channel=web")),
        (_scaled(0.1, "pos"), ("unit_change", "amount", "channel=pos")),
        (_share("device", 0.1, np.nan), ("missing", "device", "all")),
        (_share("country", 0.1, ""), ("missing", "country", "all")),
        (_share("device", 1.0, np.nan), ("schema_change", "device", "all")),
        (_share("currency", 0.03, "XTS"), ("new_value", "currency", "all")),
        (_share("channel", 0.03, "moto"), ("new_value", "channel", "all")),
    ],
)
def test_a_fault_is_named_in_its_window(
    stream: WatchedStream, rules: QualityRules, change: Change, fault: tuple[str, str, str]
) -> None:
    assert _names(_window(stream, rules, 0)) == []
    found = _window(stream, rules, 1, change)
    assert _names(found) == [fault]
    assert found[0].window_start == BEGIN + HOUR
    assert found[0].evidence >= 1


@pytest.mark.parametrize("factor", [2, 1.5, 0.5, 1 / 1.5, 8, 50])
def test_another_factor_is_no_fault(
    stream: WatchedStream, rules: QualityRules, factor: float
) -> None:
    assert [_names(_window(stream, rules, n, _scaled(factor))) for n in range(6)] == [[]] * 6


def test_few_rows_must_lack_more_than_chance_explains() -> None:
    rows = np.array([200, 10_000])
    usual, limit = excess_limit(rows, np.array(20_000), np.array(100_000), 0.05)
    error = (0.2 * 0.8 / rows[0]) ** 0.5
    assert usual.tolist() == 0.2
    assert limit.tolist() == pytest.approx([0.2 + 4 * error, 0.25], rel=0.01)


def test_nothing_is_found_in_two_quiet_weeks(stream: WatchedStream, rules: QualityRules) -> None:
    assert [f for n in range(14 * 24) for f in _window(stream, rules, n)] == []


def test_a_fault_is_over_after_two_windows(stream: WatchedStream, rules: QualityRules) -> None:
    _window(stream, rules, 0, _scaled(100))
    assert _window(stream, rules, 1) == []
    over = _window(stream, rules, 2)
    assert [(each.name, each.open) for each in over] == [("unit_change", False)]
    assert over[0].window_start == BEGIN + 2 * HOUR
    assert _window(stream, rules, 3) == []


def test_a_window_with_the_fault_begins_the_count_again(
    stream: WatchedStream, rules: QualityRules
) -> None:
    for number, change in enumerate([_scaled(100), None, _scaled(100), None]):
        assert all(each.open for each in _window(stream, rules, number, change))
    assert [each.open for each in _window(stream, rules, 4)] == [False]


def test_few_rows_wait_for_the_next_window() -> None:
    stream = WatchedStream(2, rate=90)
    rules = QualityRules(stream.reference(days=14))
    found = [_names(_window(stream, rules, n, _scaled(100))) for n in range(3)]
    assert found[:2] == [[], []]
    assert found[2] == [("unit_change", "amount", "all")]


@pytest.mark.parametrize("rate", [300, 600])
def test_small_segments_do_not_hide_a_change_of_all_events(rate: int) -> None:
    stream = WatchedStream(4, rate=rate)
    rules = QualityRules(stream.reference(days=7))
    for number in range(3):
        assert _window(stream, rules, number) == []
    found = _window(stream, rules, 3, _scaled(0.01))
    assert _names(found) == [("unit_change", "amount", "all")]


def test_small_segments_refute_a_change_of_all_events() -> None:
    stream = WatchedStream(5, rate=390)
    rules = QualityRules(stream.reference(days=7))
    names = [_names(_window(stream, rules, number, _scaled(100, "web"))) for number in range(8)]
    found = {name for window in names for name in window}
    assert found == {("unit_change", "amount", "channel=web")}


def test_a_fault_of_a_small_segment_is_named(stream: WatchedStream, rules: QualityRules) -> None:
    def change(columns: Columns) -> None:
        columns["device"][(columns["country"] == b"FR") & (columns["channel"] == b"web")] = np.nan

    names = _names(_window(stream, rules, 0, change))
    assert names == [("missing", "device", "all")]

    def smaller(columns: Columns) -> None:
        columns["device"][np.flatnonzero(columns["country"] == b"FR")[:60]] = np.nan

    assert _names(_window(stream, rules, 1, smaller)) == [("missing", "device", "country=FR")]


def test_an_untiled_window_is_not_judged(stream: WatchedStream, rules: QualityRules) -> None:
    window = stream.window(BEGIN, _scaled(100))
    window.tiled = False
    assert rules.window(window) == []
    assert _names(_window(stream, rules, 1)) == []


def test_a_window_of_another_reference_is_not_judged(
    stream: WatchedStream, rules: QualityRules
) -> None:
    window = stream.window(BEGIN, _scaled(100))
    window.reference = "f" * 16
    assert rules.window(window) == []


def test_other_cells_are_refused(stream: WatchedStream, rules: QualityRules) -> None:
    window = stream.window(BEGIN)
    window.counts = window.counts[:, 1:]
    with pytest.raises(ValueError, match="cells"):
        rules.window(window)


def test_a_snapshot_continues_with_the_same_faults(reference: DriftReference) -> None:
    stream = WatchedStream(3, rate=130)
    rules = QualityRules(stream.reference(days=14))
    changes = [_scaled(100, "web"), None, _share("device", 0.2, np.nan), None, None, None, None]
    for number, change in enumerate(changes * 4):
        window = stream.window(BEGIN + number * HOUR, change)
        restored = QualityRules.restore(rules.snapshot(), rules.reference)
        copied = rules.copy()
        found = rules.window(window)
        assert restored.window(window) == found
        assert copied.window(window) == found
        assert restored.snapshot() == rules.snapshot() == copied.snapshot()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"[]",
        lambda d: json.dumps(d | {"pool": {}}).encode(),
        lambda d: json.dumps(d | {"faults": [[1]]}).encode(),
        lambda d: json.dumps(d | {"pool": d["pool"] | {"rows": [1]}}).encode(),
        lambda d: json.dumps(d | {"pool": d["pool"] | {"missing": [[1]]}}).encode(),
    ],
)
def test_another_state_is_refused(
    stream: WatchedStream, rules: QualityRules, spoil: Callable[[dict[str, object]], bytes]
) -> None:
    _window(stream, rules, 0)
    state = json.loads(rules.snapshot())
    with pytest.raises(ValueError, match="not a state of the quality rules"):
        QualityRules.restore(spoil(state), rules.reference)
