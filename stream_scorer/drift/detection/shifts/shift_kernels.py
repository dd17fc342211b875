"""Kernels of the calibrated detector: the generalised likelihood ratio of a change of the mean.

A stream's state is one row. Its innovations since the start of the reference are kept as sums:
buckets of 1, 2, 4, … innovations, at most ``BUCKETS`` of each width (an exponential histogram, as
in Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", 2007), and one sum
of all that are older than the horizon. Every boundary between two buckets is a candidate for the
time of the change.
"""

import numpy as np

from stream_scorer.core.kernels.compiled import inlined, kernel

BUCKETS = 8
LEVELS = 8
HORIZON = BUCKETS * (2**LEVELS - 1)
"""Steps within which the start of a change is searched, at least."""
LEAST = 8
"""Minimum number of innovations after the change."""
EQUAL = 64.0
"""Changes much older than this many steps share one threshold; younger ones need more evidence."""
GROWING = 3.0
"""Evidence of a change inside a reference that makes the reference start again."""
SECOND = 2.0
"""A change inside a reference is a second one, and not the growth of the first, if it is above the
tolerance by this many standard deviations of a value."""

_OLDEST = (BUCKETS + 1) * 2**LEVELS
PRICE = np.log1p(EQUAL / np.arange(1, _OLDEST + 1))
"""By age - 1: the evidence that a change of that age needs in addition."""

# Columns of a state. BEFORE_* hold what is older than the buckets.
BEFORE_COUNT, BEFORE_SUM, PREVIOUS, LEARNING, COUNTS = range(5)
SUMS = COUNTS + LEVELS
WIDTH = SUMS + LEVELS * (BUCKETS + 1)

# Columns of a result.
FIRED, AGE, BEFORE, AFTER, EVIDENCE = range(5)
RESULTS = 5


@inlined
def _push(state, innovation):
    """Add an innovation to the buckets."""
    carried = innovation
    for level in range(LEVELS):
        first = SUMS + level * (BUCKETS + 1)
        count = int(state[COUNTS + level])
        for at in range(first + count, first, -1):
            state[at] = state[at - 1]
        state[first] = carried
        if count < BUCKETS:
            state[COUNTS + level] = count + 1
            return
        carried = state[first + BUCKETS] + state[first + BUCKETS - 1]
        state[COUNTS + level] = BUCKETS - 1
    state[BEFORE_COUNT] += 2.0**LEVELS
    state[BEFORE_SUM] += carried


@inlined
def _scan(state, tolerance, result):
    """Write the best split's age, means and evidence to a result."""
    count, total = state[BEFORE_COUNT], state[BEFORE_SUM]
    width = 1.0
    for level in range(LEVELS):
        held = int(state[COUNTS + level])
        count += held * width
        for at in range(held):
            total += state[SUMS + level * (BUCKETS + 1) + at]
        width *= 2.0
    best = -1.0
    mean = total / count if count > 0.0 else 0.0
    after_count, after = 0.0, 0.0
    best_count, best_sum = 0.0, 0.0
    width = 1.0
    for level in range(LEVELS):
        for at in range(int(state[COUNTS + level])):
            after_count += width
            after += state[SUMS + level * (BUCKETS + 1) + at]
            before_count = count - after_count
            if after_count < LEAST or before_count < LEAST:
                continue
            # With d = mean after - mean before: excess = d * after_count * before_count / count.
            share = after_count * before_count / count
            excess = max(abs(after - after_count * mean) - tolerance * share, 0.0)
            evidence = 0.5 * excess * excess / share - PRICE[int(after_count) - 1]
            if evidence > best:
                best = evidence
                best_count, best_sum = after_count, after
        width *= 2.0
    result[EVIDENCE] = best
    if best_count > 0.0:
        result[AGE] = best_count
        result[BEFORE] = (total - best_sum) / (count - best_count)
        result[AFTER] = best_sum / best_count


@inlined
def _restart(state, count, total, learning):
    """Forget everything but a sum; the next ``learning`` steps are a reference."""
    state[BEFORE_COUNT] = count
    state[BEFORE_SUM] = total
    state[LEARNING] = learning
    for level in range(LEVELS):
        state[COUNTS + level] = 0.0


@inlined
def step(state, value, phi, sigma, threshold, tolerance, relearn, growth, result):
    """Add one value to a stream's state; write its result."""
    result[FIRED] = 0.0
    result[EVIDENCE] = -1.0
    if value != value:  # noqa: PLR0124 the test for NaN
        return
    previous = state[PREVIOUS]
    state[PREVIOUS] = value
    if previous != previous:  # noqa: PLR0124 the first value has no innovation
        return
    _push(state, (value - phi * previous) / sigma)
    _scan(state, tolerance, result)
    if state[LEARNING] > 0.0:
        state[LEARNING] -= 1.0
        second = abs(result[AFTER] - result[BEFORE]) - tolerance > growth
        # A younger split may be before a change that has just begun, and half of its values old.
        if result[EVIDENCE] > GROWING and result[AGE] >= 2 * LEAST and not second:
            # The change of the last alarm is still growing: keep what is after the best split.
            _restart(state, result[AGE], result[AGE] * result[AFTER], relearn)
            return
        if not (second and result[EVIDENCE] > threshold):
            return
    if result[EVIDENCE] > threshold:
        result[FIRED] = 1.0
        _restart(state, 0.0, 0.0, relearn)


@kernel
def evidence(states, tolerance, results):
    """Write the evidence of each stream's best split; nothing is added."""
    for stream in range(len(states)):
        results[stream, EVIDENCE] = -1.0
        _scan(states[stream], tolerance[stream], results[stream])


@kernel
def update(states, values, phi, sigma, threshold, tolerance, relearn, growth, results):
    """Add one value to each stream; write a row of results for each.

    Within a reference, a change of more than ``growth`` beyond the tolerance, in units of sigma, is
    an alarm of its own.
    """
    for stream in range(len(values)):
        step(
            states[stream], values[stream], phi[stream], sigma[stream], threshold[stream],
            tolerance[stream], relearn, growth[stream], results[stream],
        )  # fmt: skip
