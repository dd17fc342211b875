"""Ages are measured by a clock that counts the time in which the machine is suspended."""

import time

import pytest

from stream_scorer import clocks


def test_ages_are_measured_by_the_clock_that_counts_suspension(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)

    def clock_gettime(number: int) -> float:
        read.append(number)
        return 5.0

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    assert clocks._since_boot()() == 5.0
    assert set(read) == {7}


def test_without_such_a_clock_it_is_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert clocks._since_boot() is time.monotonic


def test_an_unknown_clock_falls_back_to_monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "clock_gettime", refused)
    assert clocks._since_boot() is time.monotonic


def test_it_does_not_go_back() -> None:
    first = clocks.since_boot()
    assert clocks.since_boot() >= first
