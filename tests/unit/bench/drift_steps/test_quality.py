"""The bench of data quality on one stream: each case is what it is called."""

import pytest

from bench.drift_steps.quality import (
    CASES,
    FACTORS,
    QUIET,
    Case,
    Run,
    both_reported,
    called_drift,
    named_right,
)


@pytest.fixture(scope="module")
def begun() -> Run:
    return Run(1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case.name))
def test_a_fault_is_named_in_one_window(begun: Run, case: Case) -> None:
    assert named_right(case, begun.copy())


def test_a_quiet_hour_is_not_named(begun: Run) -> None:
    run = begun.copy()
    start = run.hour(QUIET)
    run.hour(QUIET)
    assert run.faults(start) == set()
    assert not named_right(QUIET, begun.copy()), "a case without a name is never right"


def test_a_fault_and_an_unrelated_drift_are_both_reported(begun: Run) -> None:
    assert both_reported(begun.copy())


@pytest.mark.parametrize("factor", FACTORS)
def test_multiplied_amounts_are_drift_and_no_fault(begun: Run, factor: float) -> None:
    assert called_drift(factor, begun.copy())


def test_amounts_times_100_are_a_fault_and_no_drift(begun: Run) -> None:
    assert not called_drift(100.0, begun.copy())
