"""A stream is learning until the histories behind its values are complete."""

import pytest

from stream_scorer.models.reference.learning import learning_until

DAY = 86_400_000


@pytest.mark.parametrize(
    ("history_from", "reach", "until"),
    [
        (None, 0, 100 * DAY),
        (None, 37 * DAY, 137 * DAY),
        # A person knows that the histories were complete earlier, or will be.
        (90 * DAY, 37 * DAY, 100 * DAY),
        (110 * DAY, 37 * DAY, 110 * DAY),
        (200 * DAY, 37 * DAY, 137 * DAY),
    ],
)
def test_histories_fill_from_the_first_window_on(
    history_from: int | None, reach: int, until: int
) -> None:
    assert learning_until(100 * DAY, history_from, reach) == until
