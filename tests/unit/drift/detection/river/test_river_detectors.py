"""River's detectors behind one interface: River's own alarms, from the values that are kept."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from river import drift
from scipy.stats import ks_2samp

from stream_scorer.drift.detection.river.adwin import cut
from stream_scorer.drift.detection.river.contract import Registered
from stream_scorer.drift.detection.river.kept_values import (
    BEGIN_AGAIN,
    COUNT,
    DETECTED,
    DETECTIONS,
    KEPT,
    PLACE,
    SINCE,
    SIZE,
    KeptValues,
)
from stream_scorer.drift.detection.river.kswin import two_samples
from stream_scorer.drift.detection.river.registry import DETECTORS
from stream_scorer.ports import Float64

RUN_LENGTH = 8_640.0
STEPS, CHANGE = 700, 330


def values_of(seed: int = 1) -> Float64:
    values = np.random.default_rng(seed).standard_normal((STEPS, 2))
    values[CHANGE:] += 3.0
    values[::50, 1] = np.nan
    return values


def begin_of(now: int, _stream: int, count: int) -> int:
    return now - count + 1


def fold(kept: KeptValues, values: Float64, first: int = 0) -> list[dict[str, Any]]:
    """Fold values; return the memory after each."""
    found = []
    for step, row in enumerate(values, first + 1):
        kept.update(row, step, partial(begin_of, step))
        found.append({name: table.copy() for name, table in kept.memory.items()})
    return found


@pytest.mark.parametrize("name", DETECTORS)
def test_alarms_are_those_of_river(name: str) -> None:
    kept = KeptValues(1, RUN_LENGTH)
    # No more values than one memory has.
    values = values_of()[CHANGE - 91 : CHANGE + 20, :1]
    _, setting = DETECTORS[name].chosen(RUN_LENGTH)
    adwin: Any = drift.ADWIN
    classes: dict[str, Any] = {
        "adwin": lambda: adwin(delta=setting, clock=1),
        "page_hinkley": lambda: drift.PageHinkley(delta=0.25, threshold=setting),
        "kswin": lambda: drift.KSWIN(alpha=setting, seed=1),
    }
    theirs, expected = classes[name](), []
    for step, value in enumerate(values[:, 0].astype(np.float16).tolist(), 1):
        theirs.update(value)
        if theirs.drift_detected:
            expected.append(step)
    memory = fold(kept, values)
    found = [n + 1 for n, each in enumerate(memory) if each[name][0, DETECTED] == n + 1]
    assert expected
    assert min(found) > 91
    if name == "kswin":  # River draws its samples with other random numbers
        assert abs(found[0] - expected[0]) <= 4
    else:
        assert found == expected


def test_a_restored_state_continues_bit_for_bit() -> None:
    values = values_of()
    whole = KeptValues(2, RUN_LENGTH)
    expected = fold(whole, values)
    for at in (7, 111, 112, 113, CHANGE + 4, 600):
        first, second = KeptValues(2, RUN_LENGTH), KeptValues(2, RUN_LENGTH)
        fold(first, values[:at])
        second.load(first.values.copy(), first.memory)
        found = fold(second, values[at:], at)
        assert all((found[-1][name] == table).all() for name, table in expected[-1].items())
        assert (second.values == whole.values).all()
    assert all((table[:, DETECTIONS] > 0).all() for table in expected[-1].values())


def test_a_state_that_is_lost_gives_other_alarms() -> None:
    values = values_of()[:CHANGE]
    whole, lost = KeptValues(2, RUN_LENGTH), KeptValues(2, RUN_LENGTH)
    after = np.full((12, 2), 2.0)
    fold(whole, values)
    assert fold(whole, after)[-1]["page_hinkley"][0, DETECTIONS] > 0
    assert fold(lost, after)[-1]["page_hinkley"][0, DETECTIONS] == 0


def test_two_copies_do_not_share_what_they_see() -> None:
    values = values_of()
    one = KeptValues(2, RUN_LENGTH)
    fold(one, values[:300])
    two = one.copy()
    fold(two, values[300:400] + 9, 300)
    expected = fold(KeptValues(2, RUN_LENGTH), values[:400])
    found = fold(one, values[300:400], 300)
    assert all((found[-1][name] == table).all() for name, table in expected[-1].items())


def test_a_memory_begins_again_with_its_newer_half() -> None:
    kept = KeptValues(1, 1e12, {"never": Registered(_never, "none", ((1.0, 0.0),))})
    memory = fold(kept, np.zeros((KEPT, 1)))
    assert memory[-2]["never"][0, [COUNT, SINCE]].tolist() == [KEPT - 1, 1]
    assert memory[-1]["never"][0, [COUNT, SINCE]].tolist() == [BEGIN_AGAIN, KEPT - BEGIN_AGAIN + 1]
    assert kept._live.detectors[0, "never"].seen == BEGIN_AGAIN  # type: ignore[attr-defined]


class _Never:
    """Counts values, and detects nothing."""

    def __init__(self) -> None:
        self.seen = 0
        self.drift_detected = False

    def update(self, x: float) -> None:
        """Count a value."""
        assert x == x  # noqa: PLR0124 never NaN
        self.seen += 1


def _never(_: float) -> Any:
    return _Never()


def test_adwin_tells_place_and_size() -> None:
    memory = fold(KeptValues(2, RUN_LENGTH), values_of())
    first = next(each["adwin"][0] for each in memory if each["adwin"][0, DETECTED] > CHANGE)
    assert abs(first[PLACE] - CHANGE - 1) <= 2
    assert first[SIZE] == pytest.approx(3, abs=0.8)
    others = [memory[-1][name][0] for name in ("page_hinkley", "kswin")]
    assert all(each[PLACE] == each[SIZE] == 0 for each in others)


@pytest.mark.parametrize("count", [-1.0, float(KEPT), np.nan])
def test_an_impossible_state_is_refused(count: float) -> None:
    kept = KeptValues(1, RUN_LENGTH)
    memory = {name: table.copy() for name, table in kept.memory.items()}
    memory["adwin"][0, COUNT] = count
    with pytest.raises(ValueError, match="adwin"):
        kept.load(kept.values, memory)
    with pytest.raises(ValueError, match="values"):
        kept.load(np.full_like(kept.values, np.nan), kept.memory)


def test_a_detector_that_a_state_does_not_have_begins_anew() -> None:
    old = KeptValues(1, RUN_LENGTH, {"adwin": DETECTORS["adwin"]})
    fold(old, np.zeros((20, 1)))
    new = KeptValues(1, RUN_LENGTH)
    new.load(old.values, old.memory)
    assert (new.memory["adwin"][0, COUNT], new.memory["kswin"][0, COUNT]) == (20, 0)


def test_the_table_of_p_values_is_that_of_scipy() -> None:
    random = np.random.default_rng(5)
    for number in range(60):
        first, second = random.normal(size=30), random.normal(size=30) + random.normal()
        if number % 2:
            first, second = first.round(1), second.round(1)  # ties
        one, two = first.tolist(), second.tolist()
        exact = ks_2samp(one, two, method="auto")
        assert two_samples(one, two) == (exact.statistic, exact.pvalue)


def test_the_place_is_the_cut_with_the_largest_difference() -> None:
    assert cut(np.repeat([0.0, 1.0], 60)) == 60
    assert cut(np.repeat([1.0, 0.0], [4, 20])) == 4


def test_every_detector_is_registered_once() -> None:
    assert set(DETECTORS) == {"adwin", "page_hinkley", "kswin"}
    assert len({each.make for each in DETECTORS.values()}) == len(DETECTORS)
