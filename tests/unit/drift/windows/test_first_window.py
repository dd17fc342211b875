"""The input begins where its events do, and a few old ones are not its beginning."""

from stream_scorer.drift.windows.first_window import GAP_MOST_MS, LEAST, first_of

DAY = 24 * 3_600_000


def test_the_first_window_is_the_oldest() -> None:
    assert first_of([(5 * DAY, 10), (3 * DAY, 300), (4 * DAY, 4)]) == 3 * DAY
    assert first_of([(3 * DAY, 1)]) == 3 * DAY


def test_what_is_before_a_long_gap_is_not_of_the_input() -> None:
    assert first_of([(0, 400), (GAP_MOST_MS, 400)]) == 0
    assert first_of([(0, 400), (GAP_MOST_MS + 1, 400), (GAP_MOST_MS + 2, 400)]) == GAP_MOST_MS + 1


def test_a_few_events_do_not_fill_a_gap() -> None:
    forged = [(day * DAY, 1) for day in range(60)]
    assert first_of([*forged, (60 * DAY, LEAST)]) == 0
    assert first_of([*forged, (60 * DAY, LEAST + 1)]) == 60 * DAY
    # The parts of a window count together.
    assert first_of([*forged, (60 * DAY, LEAST), (60 * DAY, LEAST)]) == 60 * DAY
