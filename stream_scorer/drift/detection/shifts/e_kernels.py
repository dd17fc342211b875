"""Kernels of the e-detector: bets against the null, for each stream, direction and stake."""

from stream_scorer.core.kernels.compiled import kernel

STAKES = 6
"""Number of stakes in each direction; each is half of the one before."""
HIGHEST = 0.9
"""The largest stake, as a share of what can be bet without ruin."""
SIDES = 2
CELLS = SIDES * STAKES
# A stream's state: one number of each kind for each direction and stake.
CUSUM, AGE, SUM = (kind * CELLS for kind in range(3))
LOW, HIGH = 3 * CELLS, 3 * CELLS + 1
"""Lowest and highest mean of the null."""
WIDTH = 3 * CELLS + 2
_MOST = 1e250


@kernel
def update(states, values):
    """Add one value to each stream.

    With a stake s, a bet on an increase multiplies wealth by 1 + s (y - high) / high. Its
    conditional expectation is at most 1 while that of y is at most ``high``; s < 1 keeps it
    positive. A bet on a decrease is the mirror image. The CUSUM starts again whenever it has lost,
    which tells when a change began.

    Args:
        states: float64[streams, WIDTH].
        values: float64[streams] from 0 to 1; NaN is no observation.
    """
    for stream in range(len(values)):
        value = values[stream]
        if value != value:  # noqa: PLR0124 the test for NaN
            continue
        state = states[stream]
        for side in range(SIDES):
            if side == 0:
                gain = (value - state[HIGH]) / state[HIGH]
            else:
                gain = (state[LOW] - value) / (1.0 - state[LOW])
            stake = HIGHEST
            for number in range(STAKES):
                cell = side * STAKES + number
                factor = 1.0 + stake * gain
                if state[CUSUM + cell] <= 1.0:
                    state[CUSUM + cell] = 1.0
                    state[AGE + cell] = 0.0
                    state[SUM + cell] = 0.0
                state[CUSUM + cell] = min(state[CUSUM + cell] * factor, _MOST)
                state[AGE + cell] += 1.0
                state[SUM + cell] += value
                stake *= 0.5
