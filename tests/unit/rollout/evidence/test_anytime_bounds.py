"""The evidence equals an oracle that tries all coins: 2^m swaps of m pairs, none left out."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.rollout.evidence.anytime_bounds import (
    Sample,
    differences,
    effective_pairs,
    least_effect,
    log_evidence,
    log_evidence_either,
    look_number,
    weight,
)

Float64 = NDArray[np.float64]
PAIRS, LOOKS = 8, 4
_RANDOM = np.random.default_rng(7)
PERSISTENT = _RANDOM.gamma(0.3, 5.0, (2, PAIRS, 1))
"""Each bucket's tendency: a few buckets have most of the events, at every look."""
SUMS = np.cumsum(_RANDOM.poisson(PERSISTENT, (2, PAIRS, LOOKS)), axis=2).astype(float)
COUNTS = np.cumsum(_RANDOM.poisson(20, (2, PAIRS, LOOKS)) + 1, axis=2).astype(float)


def _sample(coins: NDArray[np.int64], look: int, joined: NDArray[np.int64]) -> Sample:
    """Return the pairs' counts from the look at which they joined up to another look."""
    pair = np.arange(PAIRS)

    def since(values: Float64, bucket: NDArray[np.int64]) -> Float64:
        before = np.where(joined > 0, values[bucket, pair, np.maximum(joined - 1, 0)], 0.0)
        found: Float64 = values[bucket, pair, look] - before
        return found

    there = joined <= look
    return Sample(
        since(SUMS, coins)[there],
        since(SUMS, 1 - coins)[there],
        since(COUNTS, coins)[there],
        since(COUNTS, 1 - coins)[there],
        joined[there],
    )


def _paths(
    evidence: Callable[[Sample], float], *, ramp: bool
) -> Iterator[tuple[Float64, NDArray[np.int64]]]:
    """Yield the running sum of evidence, and when pairs joined, for each of the 2^m draws."""
    for drawn in product((0, 1), repeat=PAIRS):
        coins = np.array(drawn)
        joined = np.zeros(PAIRS, np.int64)
        if ramp:
            joined[PAIRS // 2 :] = LOOKS
        running, path = 0.0, []
        for look in range(LOOKS):
            sample = _sample(coins, look, joined)
            running += weight(look + 1) * math.exp(evidence(sample))
            path.append(running)
            # The controller widens the ramp while the canary looks good, so the coins determine
            # when.
            if ramp and math.exp(_more(sample)) < 0.5 + 0.4 * look and joined[-1] == LOOKS:
                joined[PAIRS // 2 :] = look + 1
        yield np.array(path), joined


def _more(sample: Sample) -> float:
    return log_evidence(differences(sample), sample.stage)


def _either(sample: Sample) -> float:
    return log_evidence_either(differences(sample), sample.stage)


@pytest.mark.parametrize("ramp", [False, True])
@pytest.mark.parametrize("evidence", [_more, _either])
def test_evidence_over_all_coins_has_its_weights_expectation(
    evidence: Callable[[Sample], float], *, ramp: bool
) -> None:
    paths = list(_paths(evidence, ramp=ramp))
    expected = np.cumsum([weight(look + 1) for look in range(LOOKS)])
    assert np.mean([path for path, _ in paths], axis=0) == pytest.approx(expected, rel=1e-12)
    if ramp:
        assert len({int(joined[-1]) for _, joined in paths}) > 2, "the coins never moved the ramp"


def test_no_share_of_coins_above_alpha_reaches_its_inverse() -> None:
    highest = np.array([path[-1] for path, _ in _paths(_more, ramp=True)])
    for bound in (0.3, 0.5, 1.0, 2.0):
        assert (highest >= bound).mean() <= 1 / bound
    assert (highest >= 0.3).any()


def test_multiplying_looks_would_break_what_adding_keeps() -> None:
    # The second look has the same coins again. A bet on what the first look showed would win by
    # hindsight, so evidence of different looks is added, not multiplied.
    products = []
    for drawn in product((0, 1), repeat=PAIRS):
        coins, joined = np.array(drawn), np.zeros(PAIRS, np.int64)
        logs = [_more(_sample(coins, look, joined)) for look in range(LOOKS)]
        products.append(math.exp(sum(logs)))
    assert np.mean(products) > 1.05


def _undone(effect: float) -> Iterator[Sample]:
    """Yield the last look for all coins, with an additive effect that is removed again."""
    sums, counts = SUMS[:, :, -1], COUNTS[:, :, -1]
    pair = np.arange(PAIRS)
    for drawn in product((0, 1), repeat=PAIRS):
        canary, control = np.array(drawn), 1 - np.array(drawn)
        yield Sample(
            sums[canary, pair] - effect * counts[canary, pair],
            sums[control, pair],
            counts[canary, pair],
            counts[control, pair],
            np.zeros(PAIRS, np.int64),
        ).shifted(effect)


def test_a_look_is_exact_for_an_additive_effect_that_is_undone() -> None:
    effect = 0.37
    found = [math.exp(_more(sample)) for sample in _undone(effect)]
    assert np.mean(found) == pytest.approx(1.0, rel=1e-12)


def test_bounds_miss_an_additive_effect_only_as_often_as_allowed() -> None:
    effect, level = -0.2, 0.4
    missed = {"low": 0, "high": 0}
    for sample in _undone(effect):
        bound = math.log(1 / level)
        missed["low"] += least_effect(sample, bound) > 0
        missed["high"] += least_effect(sample.swapped(), bound) > 0
    assert 0 < missed["low"] <= level * 2**PAIRS
    assert 0 < missed["high"] <= level * 2**PAIRS


def _columns(data: st.DataObject, pairs: int) -> Sample:
    sums = st.lists(st.integers(0, 50), min_size=pairs, max_size=pairs)
    counts = st.lists(st.integers(0, 90), min_size=pairs, max_size=pairs)
    stages = sorted(data.draw(st.lists(st.integers(0, 2), min_size=pairs, max_size=pairs)))
    drawn = [np.array(data.draw(column), float) for column in (sums, sums, counts, counts)]
    return Sample(drawn[0], drawn[1], drawn[2], drawn[3], np.array(stages, np.int64))


def test_rounding_is_not_evidence() -> None:
    counts = np.arange(1.0, 4_001.0)
    sums = np.array([math.fsum([0.1] * int(n)) + 1e-13 * n for n in counts])
    same = np.zeros(len(counts), np.int64)
    sample = Sample(sums, 0.1 * counts, counts, counts, same)
    assert not differences(sample).any()
    assert _more(sample) == 0.0
    seen = Sample(sums * 1.000_001, 0.1 * counts, counts, counts, same)
    assert differences(seen).all()
    alone = Sample(np.array([5.0]), np.zeros(1), np.array([19.0]), np.zeros(1), same[:1])
    assert not differences(alone).any()


@given(st.data(), st.integers(1, 12))
def test_the_unit_of_the_sums_does_not_matter(data: st.DataObject, pairs: int) -> None:
    sample = _columns(data, pairs)
    cents = Sample(
        sample.canary * 100,
        sample.control * 100,
        sample.canary_count,
        sample.control_count,
        sample.stage,
    )
    assert _more(cents) == pytest.approx(_more(sample), abs=1e-6)


@given(st.data(), st.integers(1, 12))
def test_exchanging_the_arms_reverses_every_difference(data: st.DataObject, pairs: int) -> None:
    sample = _columns(data, pairs)
    assert differences(sample.swapped()) == pytest.approx(-differences(sample))
    assert _either(sample.swapped()) == pytest.approx(_either(sample))
    assert _either(sample) == pytest.approx(
        math.log((math.exp(_more(sample)) + math.exp(_more(sample.swapped()))) / 2)
    )


@given(st.data(), st.integers(1, 12))
def test_evidence_is_the_mean_of_products_of_bets(data: st.DataObject, pairs: int) -> None:
    sample = _columns(data, pairs)
    total = count = 0.0
    rates: dict[int, float] = {}
    for pair in range(pairs):
        total += sample.canary[pair] + sample.control[pair]
        count += sample.canary_count[pair] + sample.control_count[pair]
        rates[int(sample.stage[pair])] = total / count if count else 0.0
    difference = [
        (sample.canary[pair] - rates[int(sample.stage[pair])] * sample.canary_count[pair])
        - (sample.control[pair] - rates[int(sample.stage[pair])] * sample.control_count[pair])
        for pair in range(pairs)
    ]
    assert differences(sample) == pytest.approx(difference)
    # Differences as small as rounding errors have no meaningful scale, so they are skipped.
    units = [
        math.sqrt(np.mean([d**2 for d, s in zip(difference, sample.stage, strict=True) if s == n]))
        for n in sorted(rates)
    ]
    if max(units) < 1e-9:
        return
    unit = next(u for u in units if u > 0)
    if unit < 1e-9:
        return
    products = []
    for halving in range(10):
        bets = [2.0 ** (1 - halving) * d / unit for d in difference]
        if max(map(abs, bets)) > 300:
            return
        products.append(math.prod(math.exp(x) / math.cosh(x) for x in bets))
    assert _more(sample) == pytest.approx(math.log(np.mean(products)), rel=1e-6, abs=1e-6)


def test_pairs_without_differences_are_not_evidence() -> None:
    same = Sample(
        np.full(5, 3.0), np.full(5, 3.0), np.full(5, 9.0), np.full(5, 9.0), np.zeros(5, np.int64)
    )
    assert _more(same) == 0.0
    empty = Sample(*(np.zeros(0),) * 4, np.zeros(0, np.int64))
    assert _more(empty) == 0.0
    assert math.isnan(empty.rates[0])
    assert least_effect(empty, 1.0) == -math.inf


def test_twenty_one_sided_pairs_are_enough_at_the_first_looks() -> None:
    ones, zero = np.ones(20), np.zeros(20)
    broken = Sample(50 * ones, zero, 50 * ones, 50 * ones, np.zeros(20, np.int64))
    assert weight(3) * math.exp(_more(broken)) > 400


def test_bounds_are_where_the_evidence_reaches_the_bound() -> None:
    random = np.random.default_rng(3)
    counts = random.integers(20, 40, 300).astype(float)
    sample = Sample(
        random.normal(0.0, 5.0, 300) + counts,
        random.normal(0.0, 5.0, 300) + 1.2 * counts,
        counts,
        counts,
        np.zeros(300, np.int64),
    )
    low = least_effect(sample, 4.0)
    high = -least_effect(sample.swapped(), 4.0)
    assert low < 0.2 < high
    assert high - low < 0.2
    # With so small an effect, the function's rate and scale hardly change.
    at_low = log_evidence(differences(sample.shifted(low).swapped()), sample.stage)
    assert at_low == pytest.approx(4.0, abs=0.1)
    assert least_effect(sample, 8.0) < low


def test_looks_grow_by_a_fifth_and_shares_sum_to_one() -> None:
    assert [look_number(n, 1_000) for n in (0, 999, 1_000, 1_199, 1_200, 1_440, 10**6)] == [
        0, 0, 1, 1, 2, 3, 38,
    ]  # fmt: skip
    shares = [weight(look) for look in range(1, 10_000)]
    assert sum(shares) < 1.0
    assert sum(shares) == pytest.approx(1 - 10 / 10_009)


def test_effective_pairs_counts_equal_differences_once_each() -> None:
    assert effective_pairs(np.array([2.0, -2.0, 2.0, 0.0])) == pytest.approx(3.0)
    assert effective_pairs(np.zeros(4)) == 0.0
    assert effective_pairs(np.array([1e200, 1.0])) == pytest.approx(1.0)


def test_malformed_samples_are_refused() -> None:
    ones, stage = np.ones(3), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="length"):
        Sample(np.ones(2), ones, ones, ones, stage)
    with pytest.raises(ValueError, match="finite"):
        Sample(ones * np.nan, ones, ones, ones, stage)
    with pytest.raises(ValueError, match="ascend"):
        Sample(ones, ones, ones, ones, np.array([0, 1, 0]))
