"""The kernel of the simulation computes the evidence of the detector's kernel, bit for bit."""

import numpy as np

from bench.drift_thresholds import null_kernels
from stream_scorer.drift.detection.shifts import autoregression, shift_kernels, thresholds


def test_the_simulation_has_the_evidence_of_the_detector() -> None:
    streams, length, block, blocks = 5, 100, 50, 60
    values = np.random.default_rng(1).standard_normal((length + block * blocks, streams))
    values[1_500:, 2] += 0.5
    fit = autoregression.fit(values[:length], shrink=False)
    highest = np.full((blocks, streams), -1.0)
    null_kernels.maxima(
        values[length:], fit.phi, fit.sigma, fit.count[0], fit.total.copy(), fit.last.copy(),
        block, highest,
    )  # fmt: skip
    states = thresholds.first_state(fit)
    results = np.zeros((streams, shift_kernels.RESULTS))
    never, exact = np.full(streams, np.inf), np.zeros(streams)
    evidence = np.zeros((block * blocks, streams))
    for step, row in enumerate(values[length:]):
        shift_kernels.update(states, row, fit.phi, fit.sigma, never, exact, 0.0, never, results)
        evidence[step] = results[:, shift_kernels.EVIDENCE]
    expected = evidence.reshape(blocks, block, streams).max(1)
    assert (highest == expected).all()
    assert highest[:, 2].max() > 20


def test_evidence_is_that_of_the_best_split() -> None:
    # Below 16 values every bucket has width 1 or 2: compare with all splits that it can see.
    values = np.random.default_rng(2).standard_normal(12) + np.repeat([0.0, 3.0], [2, 10])
    reference = np.random.default_rng(3).standard_normal(40)
    state = np.zeros((1, shift_kernels.WIDTH))
    state[0, shift_kernels.BEFORE_COUNT] = len(reference)
    state[0, shift_kernels.BEFORE_SUM] = reference.sum()
    results = np.zeros((1, shift_kernels.RESULTS))
    one, none = np.ones(1), np.zeros(1)
    for value in values:
        shift_kernels.update(
            state, np.array([value]), none, one, np.array([np.inf]), none, 0.0, one, results
        )
    every = np.concatenate([reference, values])
    best = -1.0
    for age in (*range(8, 9), 10, 12):
        before, after = every[:-age], every[-age:]
        share = len(before) * age / len(every)
        evidence = 0.5 * (after.mean() - before.mean()) ** 2 * share
        best = max(best, evidence - np.log1p(shift_kernels.EQUAL / age))
    assert abs(results[0, shift_kernels.EVIDENCE] - best) < 1e-9
