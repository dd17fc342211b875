"""The drift bench: its scenarios are those of the suite, and its judge follows the rules."""

import numpy as np
import pytest

from bench.drift import MORE, PARTS, time_gates
from bench.drift_steps import cost, detectors, family, quality, river, run_length, suite
from bench.drift_steps.judge import Verdict, judge, run
from bench.drift_steps.scenarios import (
    NEVER,
    REFERENCE,
    Case,
    bernoulli,
    cases,
    correlated,
    scenario,
)
from bench.drift_thresholds import calibration
from stream_scorer.drift.detection.river.registry import DETECTORS


def test_there_are_25_cases() -> None:
    every = list(cases())
    assert len(every) == len(set(every)) == 25
    assert sum(case.size == 0 for case in every) == 1
    assert len(suite.SEEDS) == 4
    assert not set(suite.SEEDS) & set(suite.TUNING_SEEDS)


def test_values_have_the_variance_and_correlations_of_the_suite() -> None:
    values = correlated(np.random.default_rng(1), 20_000, 20, 0.6)
    assert values.var() == pytest.approx(1, abs=0.1)
    between = np.atleast_2d(np.corrcoef(values.T))
    assert between[np.triu_indices(20, 1)].mean() == pytest.approx(0.6, abs=0.05)
    centred = values - values.mean(0)
    successive = (centred[1:] * centred[:-1]).sum() / (centred**2).sum()
    assert successive == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("ramp", [False, True])
def test_a_tenth_of_the_streams_changes(*, ramp: bool) -> None:
    case = Case(ramp=ramp, size=1.0, rho=0.0, together=False)
    values, onset = scenario(np.random.default_rng(2), case)
    quiet, _ = scenario(np.random.default_rng(2), Case(ramp, 0.0, 0.0, together=False))
    changed = np.flatnonzero(onset != NEVER)
    assert len(changed) == 10
    assert onset[changed].min() >= 500
    assert onset[changed].max() <= 4_000
    shift = (values - quiet)[:, changed]
    start = onset[changed[0]]
    assert shift[start - 1, 0] == 0
    assert shift[start + 250, 0] == pytest.approx(0.5 if ramp else 1)
    assert shift[-1] == pytest.approx(1)


def test_two_events_of_a_twentieth_each_are_together() -> None:
    case = Case(ramp=False, size=1.0, rho=0.3, together=True)
    _, onset = scenario(np.random.default_rng(3), case)
    times, counts = np.unique(onset[onset != NEVER], return_counts=True)
    assert len(times) == 2
    assert counts.tolist() == [5, 5]


def test_the_first_alarm_in_time_is_right_all_others_are_false() -> None:
    onset = np.array([1_000, NEVER, 2_000, 3_000])
    raised = [
        (900, 0), (1_200, 0), (1_250, 0), (1_260, 1), (3_001, 2), (4_000, 3), (4_950, 4),
    ]  # fmt: skip
    verdict = judge(raised, onset, 5_000)
    assert verdict.events == 3
    assert verdict.delays == [200, 1_000]
    assert verdict.false == 5
    # 1,250 and 1,260 share a window.
    assert verdict.false_windows == 4
    # The first 300 steps are the reference.
    assert verdict.windows == 47
    assert verdict.f1 == pytest.approx(2 * 2 / (2 * 2 + 5 + 1))
    assert verdict.p_false == pytest.approx(4 / 47)
    assert verdict.delay == 600


def test_verdicts_are_pooled() -> None:
    one = Verdict(2, [10], 1, 1, 50)
    one.add(Verdict(3, [20, 30], 0, 0, 50))
    assert (one.events, one.delays, one.false, one.windows) == (5, [10, 20, 30], 1, 100)
    assert Verdict().delay is None


def test_each_figure_that_misses_fails_the_suite() -> None:
    good = {"f1": 0.9, "p_false": 0.02, "delay": 375.0, "delay_1sigma": 105.0}
    assert suite.gates(good) == []
    for name, bad in (("f1", 0.89), ("p_false", 0.021), ("delay", 376), ("delay_1sigma", None)):
        assert len(suite.gates(good | {name: bad})) == 1


def test_each_figure_that_misses_fails_the_family() -> None:
    for runs, most in ((100, 37), (4, 4), (400, 124)):
        good = {"null_alarms": most, "null_burst": 1, "null_runs": runs}
        assert family.null_gates(good) == []
        assert len(family.null_gates(good | {"null_alarms": most + 1, "null_burst": 2})) == 2
    assert family.fleet_gates({"rho 0": 0.99}) == []
    assert len(family.fleet_gates({"rho 0": 0.98, "rho 0.3": 1.0})) == 1


def test_each_share_that_misses_fails_quality() -> None:
    good = {"right": 1.0, "called_drift": 1.0, "both": 1.0}
    assert quality.gates(good) == []
    for name in good:
        assert len(quality.gates(good | {name: 0.99})) == 1


def test_a_cost_above_the_limit_or_without_a_bound_fails() -> None:
    kept = {"share_lower": cost.SHARE_MOST, "kernel_ns": cost.KERNEL_NS_MOST}
    assert cost.gates(kept) == []
    for name, value in (("share_lower", 0.051), ("share_lower", None), ("kernel_ns", 105.1)):
        assert len(cost.gates({**kept, name: value})) == 1


def test_a_run_length_is_windows_per_alarm_with_its_interval() -> None:
    found = run_length.estimate([700] * 100, 100)
    assert found["mean"] == 700
    assert found["low"] == pytest.approx(70_000 / 121.6, rel=0.01)
    assert found["high"] == pytest.approx(70_000 / 81.4, rel=0.01)
    silent = run_length.estimate([2_880] * 200, 0)
    assert silent["mean"] is None
    assert silent["low"] == pytest.approx(576_000 / 3.69, rel=0.01)


def test_each_promise_that_is_missed_fails() -> None:
    def line(low: float, mean: float, guaranteed: float, members: int) -> dict[str, object]:
        return {
            "configured": 720, "calibrated": {"low": low, "mean": mean},
            "guaranteed": {"low": guaranteed, "members": members},
        }  # fmt: skip

    assert run_length.gates({"iid": line(648, 1_440, 7_200, 200)}) == []
    assert len(run_length.gates({"iid": line(647, 1_441, 7_199, 199)})) == 4


def test_times_above_their_limits_fail() -> None:
    assert run_length.time_gates(1.0) == []
    assert len(run_length.time_gates(1.1)) == 1
    assert time_gates(PARTS, 3_600) == []
    assert len(time_gates([*PARTS, *MORE], 3_601)) == 1
    assert time_gates(PARTS[1:], 3_601) == []


def test_the_guaranteed_detectors_are_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that their calibrated twins report first does not use up their evidence."""
    values = correlated(np.random.default_rng(5), REFERENCE + 400, 20, 0.0, 0.0)
    values[REFERENCE:] += 2.0
    monkeypatch.setattr(run_length, "REFERENCE", REFERENCE)
    begun = (run_length._guaranteed(values), run_length._calibrated(values, seasonal=False))
    alone, both = (
        next(step for step in range(REFERENCE, len(values)) if alarmed(step))
        for alarmed, _ in begun
    )
    assert alone > both
    assert 10 < begun[0][1] <= 20


def test_too_few_streams_in_the_class_are_counted() -> None:
    values = correlated(np.random.default_rng(6), run_length.REFERENCE, 20, 0.0, 0.5)
    assert run_length._guaranteed(values)[1] == 0


def test_rates_of_errors_change_in_half_of_the_streams() -> None:
    values, onset = bernoulli(np.random.default_rng(4), 20, 5_000, 0.1, 0.3)
    assert (onset != NEVER).sum() == 10
    assert values[:500].mean() == pytest.approx(0.1, abs=0.02)
    assert values[-900:, onset != NEVER].mean() == pytest.approx(0.3, abs=0.02)


def test_the_dummy_spends_the_budget() -> None:
    dummy = detectors.Dummy(100)
    count = sum(len(dummy.update(np.zeros(100))) for _ in range(100_000))
    assert count == pytest.approx(20, abs=14)


def test_a_detector_sees_the_reference_before_the_scenario() -> None:
    make, _ = detectors.SUITE["page_hinkley"]
    far = np.full((100, 2), 7.0)
    fed = detectors._fed(make(2), np.zeros((300, 2)))
    assert run(make(2), far, 0) == []
    assert {stream for _, stream in run(fed, far, 0)} == {0, 1}


@pytest.mark.parametrize("name", [*detectors.SUITE, *detectors.ERRORS])
def test_every_detector_alarms_for_a_large_change(name: str) -> None:
    if name == "dummy":
        return
    late = np.arange(800)[:, None] >= 400
    values = np.random.default_rng(3).random((800, 2))
    if name in detectors.ERRORS:
        values = (values < np.where(late, 0.8, 0.1)).astype(float)
        make, _ = detectors.ERRORS[name]
    else:
        values += 5 * late
        make, _ = detectors.SUITE[name]
    assert any(step >= 400 for step, *_ in run(make(2), values, 0))


def test_rarer_detections_have_less_sensitive_settings() -> None:
    for name, settings in river.SETTINGS.items():
        measured = DETECTORS[name].measured
        assert [length for length, _ in measured] == sorted(length for length, _ in measured)
        assert {setting for _, setting in measured} <= set(settings), name
        assert DETECTORS[name].chosen(1e12) == measured[-1]
    assert len(river.gates({"ms_a_window": river.MOST_MS + 0.1})) == 1
    assert river.gates({"ms_a_window": river.MOST_MS}) == []


def test_a_registered_run_length_must_be_measured() -> None:
    about: dict[str, float | None] = {"low": 1_000.0, "high": 30_000.0}
    lengths = {
        name: {str(setting): about for _, setting in each.measured}
        for name, each in DETECTORS.items()
    }
    assert river.length_gates({"run_length": lengths}) == []
    lengths["kswin"]["0.0001"] = {"low": 12_501.0, "high": 30_000.0}
    (line,) = river.length_gates({"run_length": lengths})
    assert "kswin 0.0001 has 12,500 values; lower bound 12501.0" in line
    # No detection at all, so the interval has no end.
    lengths["kswin"]["0.0001"] = {"low": 12_500.0, "high": None}
    assert "upper bound None" in river.length_gates({"run_length": lengths})[0]


def test_detectors_are_ranked_by_delay_at_our_budget() -> None:
    def line(delay: float | None) -> dict[str, object]:
        return {"f1": 0.5, "p_false": 0.01, "delay_at_budget": delay, "note": ""}

    found = {"none": line(None), "slow": line(300.0), "quick": line(100.0)}
    assert [row[0] for row in detectors.rows(found)] == ["quick", "slow", "none"]


def test_a_detector_without_a_setting_in_the_budget_has_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(detectors.ERRORS, "ddm", (detectors.ERRORS["ddm"][0], [{}]))
    monkeypatch.setattr(detectors, "MOST_P_FALSE", -1.0)
    monkeypatch.setattr(suite, "SEEDS", (1,))
    found = detectors.measure(quick=False, names=["ddm"], told=lambda _: None)["ddm"]
    assert found["delay_at_budget"] is None
    assert "none of the settings tried meets the budget" in found["note"]


def test_calibration_has_a_limit() -> None:
    kept = {"seconds": 10.0, "from_table": 0.69}
    assert calibration.gates(kept) == []
    for name, value in (("seconds", 10.1), ("from_table", 0.7)):
        assert len(calibration.gates(kept | {name: value})) == 1


def test_other_tools_run_only_when_they_are_named() -> None:
    assert "peers" in MORE
    assert not set(MORE) & set(PARTS)
