"""Which faults the soak draws, and what it accepts as constant memory."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import pytest

from bench.acceptance.soak import drawn
from bench.verdicts.soak import MOST_GROWTH, Sample, failures, growth, longest_life, watched
from stream_scorer.simulator.simulate import EPOCH
from tests.faults.suite import endurance, kinds
from tests.faults.suite.registry import KINDS
from tests.faults.suite.traffic import PER_SECOND

SECONDS = 400


def samples(rss: Any = lambda _: 300e6, threads: Any = lambda _: 40.0) -> list[Sample]:
    noise = np.random.default_rng(1).integers(-2_000_000, 2_000_000, SECONDS)
    return [
        Sample(7, float(second), int(rss(second)) + int(noise[second]), 60, int(threads(second)))
        for second in range(SECONDS)
    ]


def document(found: list[Sample], **changes: Any) -> dict[str, Any]:
    return {
        "failed": {},
        "faults": {"latency": 1},
        "verdict": {"faults": {}, "examples": {}},
        "longest_resume_seconds": 3.0,
        "seconds": float(SECONDS),
        "bystander": watched(found, SECONDS),
        **changes,
    }


def test_every_kind_that_is_drawn_is_one_of_the_suites() -> None:
    assert kinds.__all__
    assert set(endurance.KINDS) <= KINDS.keys()


def test_a_seed_draws_every_kind_before_any_comes_again() -> None:
    names = tuple("abcdef")
    first = list(islice(drawn(1, names), 12))
    assert sorted(first[:6]) == sorted(first[6:]) == list(names)
    assert first[:6] != first[6:]
    assert first == list(islice(drawn(1, names), 12))
    assert first != list(islice(drawn(2, names), 12))


def test_a_process_that_stays_as_it_is_passes() -> None:
    assert failures(document(samples())) == []


def test_growth_before_the_end_of_warm_up_is_not_a_leak() -> None:
    assert failures(document(samples(lambda second: 1e6 * min(second, 90) + 200e6))) == []


def test_temporary_growth_is_not_a_leak() -> None:
    def spiked(second: int) -> float:
        return 900e6 if 150 < second < 220 else 300e6

    assert failures(document(samples(spiked))) == []


def test_short_lived_clients_are_no_leak_however_many() -> None:
    """Looks at the lag take longer and longer, as on a machine that gets busy."""
    looking = {"threads": lambda second: 34.0 if second % 10 > second // 45 else 42.0}
    found = watched(samples(**looking), SECONDS)
    assert failures(document(samples(**looking))) == []
    assert (found["threads"]["least_first"], found["threads"]["least_last"]) == (34, 34)


def test_a_leak_is_found_among_short_lived_clients() -> None:
    def leaking(second: int) -> float:
        return 34.0 + 4 * (second // 100) + (8 if second % 10 < 4 else 0)

    (line,) = failures(document(samples(threads=leaking)))
    assert line.startswith("threads grew by ")


@pytest.mark.parametrize(
    ("grown", "name"),
    [
        ({"rss": lambda second: 300e6 + 60_000 * second}, "rss"),
        ({"threads": lambda second: 40 + second / 40}, "threads"),
    ],
)
def test_continued_growth_fails(grown: dict[str, Any], name: str) -> None:
    (line,) = failures(document(samples(**grown)))
    assert line.startswith(f"{name} grew by ")


def test_a_growth_that_is_allowed_passes_and_a_little_more_fails() -> None:
    moments = np.arange(300.0)
    for share, passes in ((MOST_GROWTH["rss"] * 0.9, True), (MOST_GROWTH["rss"] * 1.1, False)):
        rise = 300e6 * share
        found = samples(lambda second, rise=rise: 300e6 + rise * (second - 100) / 300)
        assert (failures(document(found)) == []) is passes
    assert growth(moments, 2 * moments) == pytest.approx(598.0)


def test_only_the_process_that_lived_longest_is_watched() -> None:
    early = [Sample(1, float(second), 10**9, 1, 1) for second in range(20)]
    assert {sample.pid for sample in longest_life([*early, *samples()])} == {7}
    found = watched([*early, *samples()], SECONDS)
    assert found["processes"] == 2
    assert found["watched_seconds"] == 299.0


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"failed": {"latency": "AssertionError: no"}}, "latency: AssertionError: no"),
        ({"faults": {}}, "no fault happened"),
        ({"verdict": None}, "nothing was judged"),
        (
            {"verdict": {"faults": {"lost": 2}, "examples": {"lost": ["(0, 1)"]}}},
            "the verifier counts lost 2: {'lost': ['(0, 1)']}",
        ),
        (
            {"longest_resume_seconds": 60.1},
            "commits resumed 60.1 s after a fault, must be at most 60",
        ),
        (
            {"bystander": watched(samples()[:120], SECONDS)},
            "one process was watched for 19.0 s, must be at least 150",
        ),
    ],
)
def test_what_must_be_shown_and_is_not_fails(changes: dict[str, Any], line: str) -> None:
    assert failures(document(samples(), **changes)) == [line]


def test_the_load_lasts_as_long_as_the_faults() -> None:
    assert sum(1 for _ in endurance.load_of(60)) >= 60 * PER_SECOND


@pytest.mark.parametrize("hours", [0.1, 0.5, 24])
def test_no_event_of_the_load_is_in_the_future(
    hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(endurance, "transactions_of", lambda days, _: asked.append(days))
    endurance.load_of(hours * 3_600)
    assert EPOCH + timedelta(days=asked[0]) < datetime.now(UTC).date()
