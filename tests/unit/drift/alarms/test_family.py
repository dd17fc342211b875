"""The budget of a family of streams: who may spend what, and what each detector gets."""

import numpy as np
import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.family import GUARANTEED_SHARE, RELEARN, ChangeFound, Family
from stream_scorer.drift.alarms.nulls import (
    FLEET,
    FLEET_TOLERANCE,
    Float64,
    Nulls,
    guaranteed_class,
    nulls_of,
)
from stream_scorer.drift.alarms.stream_thresholds import thresholds_of
from stream_scorer.drift.detection.shifts.detector import Alarms
from stream_scorer.drift.detection.shifts.e_detector import EDetector
from stream_scorer.models.reference.contract import Season, StreamReference

FLAT = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)
NIGHT = Season(np.where(np.arange(24) < 6, -0.1, 0.1 / 3), np.zeros(7), np.empty(0), 8.0, 0.0)


def stream(
    field: str = "f1", measure: str = "level", segment: str = "all", mean: float = 0.5,
    phi: float = 0.0, season: Season | None = FLAT, scale: float = 0.02, windows: int = 400,
) -> StreamReference:  # fmt: skip
    return StreamReference(
        StreamKey(field, measure, segment), mean, mean - 0.004, mean + 0.004, scale, phi, windows,
        80_000, season, "",
    )  # fmt: skip


STREAMS = (
    stream("score", mean=0.05, scale=0.004),
    stream("outcome", "share:BLOCK", mean=0.02, scale=0.004),
    stream("amount"), stream("f1", "missing", mean=0.01), stream("f1"),
    stream("f1", segment="channel=web"), stream("segment", "share", "channel=web"),
)  # fmt: skip


@pytest.fixture
def nulls() -> Nulls:
    return nulls_of(STREAMS, 0.5)


def test_shares_of_the_budget_add_up_to_one(nulls: Nulls) -> None:
    assert nulls.share.sum() == pytest.approx(1)
    assert nulls.keys[-1] == FLEET
    weights = dict(zip(nulls.keys, nulls.share / nulls.share[4], strict=True))
    assert [round(float(weights[each.key]), 6) for each in STREAMS] == [8, 8, 4, 2, 1, 1, 1]
    assert 0 < GUARANTEED_SHARE < 1


def test_scores_have_a_relative_tolerance(nulls: Nulls) -> None:
    assert nulls.delta[:2] == pytest.approx([0.005, 0.002])
    assert nulls.delta[4] == pytest.approx(0.01)


def test_the_median_has_the_tolerance_of_features_at_least(nulls: Nulls) -> None:
    assert nulls.delta[-1] == 0.5
    assert nulls_of(STREAMS, 0.0).delta[-1] == FLEET_TOLERANCE == 0.25


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"season": None}, ""),
        ({"phi": 0.2}, "AR(1), correlation 0.20"),
        ({"phi": 0.09}, ""),
        ({"season": NIGHT}, "season"),
        ({"mean": 0.002}, ""),
        ({"mean": 1.5}, "a mean outside of 0 to 1"),
        ({"windows": 100}, "fewer than 168 windows"),
    ],
)
def test_the_guaranteed_class_is_named(changed: dict[str, float], why: str) -> None:
    said = guaranteed_class(stream(**changed))  # type: ignore[arg-type]
    assert said == (f"not in the class: {why}" if why else "")


def test_the_error_of_a_season_is_a_part_of_the_null() -> None:
    season = Season(NIGHT.hour, NIGHT.day, NIGHT.week, 8.0, 0.01)
    known, learned = nulls_of([stream(season=FLAT)], 0.5), nulls_of([stream(season=season)], 0.5)
    assert (known.noise[0], known.weeks[0]) == (1.0, np.inf)
    # The reference's observations lack a variance of (0.01 / 0.02)^2, and new ones have it twice.
    assert learned.noise[0] == pytest.approx(np.sqrt(1.5))
    assert learned.weeks[0] == 8.0
    need, more = (thresholds_of(each, np.full(2, 1e5)) for each in (known, learned))
    assert more[0] > need[0]
    assert more[1] == pytest.approx(need[1])


def test_a_change_gives_one_alarm_with_its_means(nulls: Nulls) -> None:
    family = Family(nulls, 720)
    found = feed(family, nulls, 200, {0: 0.02}, at=100)
    assert [each.stream for _, each in found] == [0]
    at, alarm = found[0]
    assert 100 <= at <= 110
    assert alarm.before == pytest.approx(0.05, abs=0.003)
    assert alarm.after > 0.055


def test_a_slow_certain_change_is_found_by_the_guarantee() -> None:
    # Without a usable variance, the calibrated promise does not hold.
    nulls = nulls_of([stream("f1", "missing", mean=0.01, scale=0.0)], 0.5)
    assert nulls.calibrated.tolist() == [False, False]
    found = feed(Family(nulls, 720), nulls, 150, {0: 0.1}, at=50, noise=0.0)
    assert {(each.detector, each.stream) for _, each in found} == {("e_detector", 0)}
    assert 50 < found[0][0] < 70
    assert found[0][1].log_evidence > np.log(720 / GUARANTEED_SHARE)


def test_a_mean_after_a_change_is_no_part_of_the_guarantee(
    nulls: Nulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    update = EDetector.update

    def seen(self: EDetector, values: Float64) -> Alarms:
        counted.append(int((~np.isnan(values)).sum()))
        return update(self, values)

    monkeypatch.setattr(EDetector, "update", seen)
    family = Family(nulls, 720)
    moved = np.arange(len(nulls)) == 0
    family.update(nulls.mean)
    family.settle(moved, nulls.mean + 0.01, np.full(len(nulls), float(RELEARN)))
    family.update(nulls.mean)
    family.begin_again(moved, nulls.low, nulls.high)
    family.update(nulls.mean)
    members = int(nulls.guaranteed.sum())
    assert nulls.guaranteed[0]
    assert counted == [members, members - 1, members]


def test_each_kind_of_detectors_has_its_part_of_the_budget() -> None:
    """Evidence grows slowly, so an alarm says what it needed: 800 windows, and 7,200."""
    nulls = nulls_of([stream(phi=0.2), stream("f2")], 0.5)
    ((_, found),) = feed(Family(nulls, 720), nulls, 300, {0: 0.018}, at=0, noise=0.0)
    need = thresholds_of(nulls, 720 / 0.9 / nulls.share)[0]
    assert need <= found.log_evidence < need + 0.2
    nulls = nulls_of([stream("f1", "missing", mean=0.01, scale=0.0)], 0.5)
    (_, found), *_ = feed(Family(nulls, 720), nulls, 60, {0: 0.02}, at=0, noise=0.0)
    assert np.log(7_200) <= found.log_evidence < np.log(7_200) + 0.5


def test_without_a_guarantee_all_of_the_budget_is_calibrated() -> None:
    nulls = nulls_of([stream(phi=0.2)], 0.5)
    family = Family(nulls, 720)
    assert family.guaranteed_share == 0
    assert family.calibrated_length == pytest.approx(720 / nulls.share)
    ((_, found),) = feed(family, nulls, 300, {0: 0.018}, at=0, noise=0.0)
    need = thresholds_of(nulls, 720 / nulls.share)[0]
    assert need <= found.log_evidence < need + 0.2


def test_streams_that_can_never_alarm_say_so() -> None:
    few = nulls_of([stream(windows=40), stream("f2", scale=0.0, phi=0.3)], 0.5)
    assert few.watched.tolist() == [False, False, False]
    assert few.classes[0] == (
        "cannot alarm: fewer than 50 windows; not in the class: fewer than 168 windows"
    )
    assert few.classes[1].startswith("cannot alarm: it never varied; not in the class: AR(1)")
    some = nulls_of([stream(windows=60), stream("f2")], 0.5)
    assert some.watched.tolist() == [True, True, True]
    assert some.classes[0] == "not in the class: fewer than 168 windows"


def test_streams_outside_the_class_have_the_calibrated_promise() -> None:
    nulls = nulls_of([stream(phi=0.5)], 0.5)
    assert nulls.guaranteed.tolist() == [False, False]
    found = feed(Family(nulls, 720), nulls, 200, {0: 0.1}, at=100)
    assert [each.detector for _, each in found] == ["calibrated"]


def test_false_alarms_stay_within_the_budget() -> None:
    nulls = nulls_of([stream(f"f{n}") for n in range(40)], 0.5)
    found = feed(Family(nulls, 240), nulls, 4_800, {}, at=0)
    # 20 are expected at most; a Poisson count of 20 is above 33 in one case of 500.
    assert len(found) <= 33


def test_a_stream_that_relearns_is_silent_and_settles(nulls: Nulls) -> None:
    family = Family(nulls, 720)
    streams = np.zeros(len(nulls), np.bool_)
    streams[4] = True
    family.relearn(streams, nulls.mean + 0.2)
    assert family.learning[4] == RELEARN
    shifted = feed(family, nulls, RELEARN, {4: 0.2}, at=0)
    assert shifted == []
    assert family.learning[4] == 0
    family.settle(streams, nulls.mean + 0.2, np.full(len(nulls), float(RELEARN)))
    assert family.low[4] < nulls.mean[4] + 0.2 < family.high[4]
    assert feed(family, nulls, 100, {4: 0.2}, at=0, seed=3) == []
    assert [each.stream for _, each in feed(family, nulls, 60, {}, at=0, seed=4)] == [4]


def test_what_varies_more_since_a_change_needs_a_larger_change(nulls: Nulls) -> None:
    """Three times the frauds vary more, too: without that, their noise is a second change."""

    def settled(noise: float) -> Family:
        family, streams = Family(nulls, 720), np.zeros(len(nulls), np.bool_)
        streams[0] = True
        family.relearn(streams, nulls.mean)
        feed(family, nulls, RELEARN, {}, at=0, noise=noise)
        family.settle(streams, nulls.mean, np.full(len(nulls), float(RELEARN)))
        return family

    def alarms_of(family: Family) -> list[int]:
        found = feed(family, nulls, 600, {}, at=0, seed=5, noise=3.0)
        return [each.stream for _, each in found if each.stream == 0]

    wide = settled(3.0)
    assert wide.spread[:2] == pytest.approx([3.3, 1.0], rel=0.3)
    assert alarms_of(wide) == []
    assert alarms_of(settled(1.0)) != []
    # A quiet time is no reason to be more sensitive.
    assert settled(0.2).spread[0] == 1.0


def test_values_of_few_rows_do_not_decide(nulls: Nulls) -> None:
    """Each sixth value, of a quiet hour, varies four times as much."""
    random = np.random.default_rng(11)
    kept = np.where(np.arange(1_200) % 6, 1.0, 0.25)
    noise = random.standard_normal((1_200, len(nulls))) / kept[:, None]

    def alarms_of(family: Family, kept: Float64) -> int:
        found = 0
        for one, keep in zip(noise, kept, strict=True):
            values = nulls.mean + nulls.scale * one
            values[-1] = np.nan
            found += len(family.update(np.clip(values, 0, 1), keep))
        return found

    assert alarms_of(Family(nulls, 720), kept) == 0
    assert alarms_of(Family(nulls, 720), np.ones(1_200)) > 0


def test_begun_again_streams_know_their_null(nulls: Nulls) -> None:
    family = Family(nulls, 720)
    feed(family, nulls, 150, {4: 0.2}, at=100)
    family.begin_again(np.ones(len(nulls), np.bool_), nulls.low, nulls.high)
    fresh = Family(nulls, 720)
    ours, theirs = family.arrays(), fresh.arrays()
    for name in ("low", "high", "mean"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert feed(family, nulls, 100, {}, at=0, seed=5) == []


def test_a_moved_null_of_a_stream_with_a_season_is_where_it_is() -> None:
    nulls = nulls_of([stream(season=Season(NIGHT.hour, NIGHT.day, NIGHT.week, 8.0, 0.01))], 0.5)
    family = Family(nulls, 720)
    family.begin_again(np.ones(2, np.bool_), nulls.low + 0.1, nulls.high + 0.1)
    random = np.random.default_rng(6)
    for _ in range(200):
        moved = np.array([0.1 + 0.02 * random.standard_normal(), np.nan])
        assert family.update(nulls.mean + moved) == []


def test_a_copy_and_a_state_continue_alike(nulls: Nulls) -> None:
    family = Family(nulls, 720)
    feed(family, nulls, 103, {0: 0.02}, at=100)
    copied, read = family.copy(), Family(nulls, 720)
    every = np.arange(len(nulls))
    arrays = {name: values.copy() for name, values in family.arrays().items()}
    read.load(arrays, every, every)
    expected = feed(family, nulls, 60, {0: 0.02}, at=0, seed=9)
    assert expected
    for each in (copied, read):
        assert feed(each, nulls, 60, {0: 0.02}, at=0, seed=9) == expected
        for name, values in each.arrays().items():
            np.testing.assert_array_equal(values, family.arrays()[name])


def test_a_state_is_read_with_another_tolerance() -> None:
    streams = [stream("f1", "missing", mean=0.01, scale=0.02), stream("f2")]
    strict, wide = nulls_of(streams, 0.0), nulls_of(streams, 0.5)
    before, after, every = Family(strict, 720), Family(wide, 720), np.arange(3)
    feed(before, strict, 40, {0: 0.02}, at=0)
    assert before.log_evidence[0] > 0
    after.load({name: each.copy() for name, each in before.arrays().items()}, every, every)
    np.testing.assert_array_equal(after.arrays()["e"], Family(wide, 720).arrays()["e"])
    # A change within the new tolerance is none: only its own band is tested.
    assert feed(after, wide, 2_000, {0: 0.009}, at=0, noise=0.0) == []
    assert after.log_evidence[0] <= 0


def feed(
    family: Family, nulls: Nulls, steps: int, shifts: dict[int, float], at: int, seed: int = 0,
    noise: float = 1.0,
) -> list[tuple[int, ChangeFound]]:  # fmt: skip
    """Return (step, found) of independent normal values, shifted from a step on.

    The noise is in units of the streams' scale, which is 1 for a stream that does not vary.
    """
    random = np.random.default_rng(seed)
    out: list[tuple[int, ChangeFound]] = []
    for step in range(steps):
        values = nulls.mean + noise * nulls.scale * random.standard_normal(len(nulls))
        values[-1] = np.nan
        if step >= at:
            for number, shift in shifts.items():
                values[number] += shift
        out += [(step, each) for each in family.update(np.clip(values, 0, 1))]
    return out


def test_a_mean_after_a_change_has_the_error_of_its_observations(nulls: Nulls) -> None:
    family, streams = Family(nulls, 720), np.ones(len(nulls), np.bool_)
    count = np.full(len(nulls), 48.0)
    family.settle(streams, nulls.mean + 0.1, count)
    np.testing.assert_allclose((family.high - family.low) / 2, family.reach(count))
    # Two standard errors are chance.
    assert (family.reach(count) >= 2 * nulls.scale / 48**0.5).all()
