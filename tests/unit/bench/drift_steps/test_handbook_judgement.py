"""How the bench of the handbook stream judges what the monitor reports."""

from bench.drift_steps.handbook import QUIET, episodes, judged, poisson_most
from bench.drift_steps.handbook_city import BEGIN, DAY_MS, FIRST_MS
from tests.support.drift.documents import alarm
from tests.support.drift.synthetic import HOUR

DAY = BEGIN + QUIET
ONSET = FIRST_MS + DAY * DAY_MS


def test_a_change_is_found_by_its_field() -> None:
    early = alarm(window_end=ONSET - HOUR)
    late = alarm(window_end=ONSET + 5 * HOUR, onset=ONSET + 12 * HOUR)
    assert judged([early], DAY, "score")["found"] is False
    said = judged([early, late], DAY, "score")
    assert (said["found"], said["page"], said["onset_error"], said["windows"]) == (
        True,
        True,
        0.5,
        5,
    )
    assert judged([late], DAY, "amount")["found"], "among what else moved"
    assert not judged([late], DAY, "f1")["found"]


def test_two_episodes_have_an_onset_each() -> None:
    found = [
        alarm(window_end=ONSET + day * DAY_MS + HOUR, onset=ONSET + day * DAY_MS) for day in (0, 10)
    ]
    said = episodes(found, (DAY, DAY + 10))
    assert said == {"episodes": 2, "onset_errors": [0.0, 0.0]}
    assert episodes([], (DAY,))["onset_errors"] == [None]


def test_the_bound_of_a_poisson_count() -> None:
    assert [poisson_most(mean) for mean in (0.1, 5.0, 50.0)] == [1, 9, 62]
