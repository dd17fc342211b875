"""What a person accepts becomes usual: that change, and no other one."""

import numpy as np
import pytest

from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.watch import DriftWatch
from tests.support.drift.synthetic import FEATURES, HOUR, SEGMENTS, START, Shift, summaries, watch

SCORE = "score/level@all"
LEVELS = {f"f0/level@{each}" for each in ("all", *SEGMENTS)}


def accept(state: DriftWatch, event: str) -> None:
    (done,) = state.command(
        {"command_id": "0" * 32, "kind": "accept", "event_id": event, "until": None, "key_id": ""}
    )
    assert done.change == "accepted"


def fold_accepting(
    shifts: dict[int, Shift], windows: int, stream: str, at: int
) -> tuple[DriftWatch, list[Alarm]]:
    """Fold, and accept the newest alarm of a stream in the given window."""
    state, found = watch(), list[Alarm]()
    for hour, (summary, published) in enumerate(summaries(windows, shifts=shifts)):
        found += state.update(summary, published)
        if hour == at:
            mine = [each for each in found if each.stream == stream and each.change == "opened"]
            accept(state, mine[-1].event_id)
    return state, found


def course(found: list[Alarm], stream: str) -> list[tuple[str, int]]:
    return [
        (each.change, (each.window_end - START) // HOUR) for each in found if each.stream == stream
    ]


def test_a_change_before_an_accepted_one_is_learned_ends_there() -> None:
    """The score rises, is accepted, rises more, and returns to what was accepted."""
    shifts = {60: Shift(score=1.8), 80: Shift(score=3.0), 200: Shift(score=1.8)}
    state, found = fold_accepting(shifts, 300, SCORE, 64)
    assert [change for change, _ in course(found, SCORE)] == ["opened", "opened", "closed"]
    assert SCORE not in {each.opened.stream for each in state.episodes.opened()}
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    number = [key.text for key in streams.keys].index(SCORE)
    assert streams.base[:, number].mean() == pytest.approx(0.05 * 1.8, rel=0.05)


def test_an_accepted_change_survives_a_fault_and_an_end() -> None:
    state, _ = fold_accepting({60: Shift(score=1.8)}, 70, SCORE, 64)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    number = [key.text for key in streams.keys].index(SCORE)
    mine = np.arange(len(streams.keys)) == number
    assert streams.accepted[number]
    streams.hold(mine)
    streams.release(mine)
    assert streams.base[:, number].mean() == pytest.approx(0.05 * 1.8, rel=0.05)
    assert streams.family.mean[number] == pytest.approx(0.05 * 1.8, rel=0.05)
    again, _ = fold_accepting({60: Shift(score=1.8)}, 70, SCORE, 64)
    again.versions["fraud", "1"].begin_again(again.budget, again.first_start)
    made = again.versions["fraud", "1"].streams
    assert made is not None
    assert made.base[:, number].mean() == pytest.approx(0.05 * 1.8, rel=0.05)


def test_an_accepted_fleet_leaves_older_alarms_their_end() -> None:
    """A feature changes alone, then with all others; only the common change is accepted."""
    fleet = dict.fromkeys(FEATURES, 0.7)
    shifts = {
        40: Shift(features={"f0": 2.0}), 120: Shift(score=1.5, features=fleet | {"f0": 1.4}),
        350: Shift(score=1.5, features=fleet),
    }  # fmt: skip
    state, found = fold_accepting(shifts, 500, "fleet", 200)
    assert [change for change, _ in course(found, "f0/level@all")] == ["opened", "closed"]
    assert not {each.opened.stream for each in state.episodes.opened()} & LEVELS, [
        (each.opened.stream, each.opened.window_end) for each in state.episodes.opened()
    ]


def test_an_accepted_fleet_leaves_what_did_not_move() -> None:
    fleet = Shift(score=1.5, features=dict.fromkeys(FEATURES, 0.7))
    state, _ = fold_accepting({40: fleet}, 200, "fleet", 130)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    usual = np.stack([streams.nulls.low, streams.nulls.high])
    moved = {key.text for n, key in enumerate(streams.keys) if (streams.base != usual)[:, n].any()}
    assert moved >= LEVELS
    assert not moved & {"amount/level@all", "outcome/share:REVIEW@all", "segment/share@channel=web"}


def test_an_accepted_mean_has_left_the_guaranteed_class() -> None:
    _, found = fold_accepting({60: Shift(score=1.8), 160: Shift(score=4.0)}, 220, SCORE, 64)
    mine = [each for each in found if each.stream == SCORE and each.change == "opened"]
    assert [each.guaranteed for each in mine] == [True, False]
    assert mine[1].guaranteed_error is None
