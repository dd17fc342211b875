"""Simulated families of streams: autoregressions with a common factor, seasons, and changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stream_scorer.ports import Float64, Int64

PHI = 0.5
REFERENCE = 300
FIRST_ONSET, LAST_ONSET = 500, 4_000
RAMP = 500
SHARE = 0.1
NEVER = -1
_WARM_UP = 500


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of scenario.

    Attributes:
        ramp: Whether the change is linear over :data:`RAMP` steps instead of abrupt.
        size: Change in marginal standard deviations; 0 is none.
        rho: Correlation between streams.
        together: Whether there are two events of 5 % of the streams each, instead of 10 % of the
            streams at times of their own.
    """

    ramp: bool
    size: float
    rho: float
    together: bool


def cases() -> Iterator[Case]:
    """Yield the 25 cases of the suite."""
    for ramp in (False, True):
        for size in (0.5, 1.0):
            for rho in (0.0, 0.3, 0.6):
                for together in (False, True):
                    yield Case(ramp, size, rho, together)
    yield Case(ramp=False, size=0.0, rho=0.3, together=False)


def autoregressive(
    generator: np.random.Generator, steps: int, streams: int, phi: float = PHI
) -> Float64:
    """Return float64[steps, streams]: independent autoregressions of order 1 and variance 1."""
    values = generator.standard_normal((_WARM_UP + steps, streams)) * np.sqrt(1 - phi * phi)
    for at in range(1, len(values)):
        values[at] += phi * values[at - 1]
    return values[_WARM_UP:]


def correlated(
    generator: np.random.Generator, steps: int, streams: int, rho: float, phi: float = PHI
) -> Float64:
    """Return float64[steps, streams]: variance 1, correlation ``rho`` by a common factor."""
    own = autoregressive(generator, steps, streams, phi)
    if rho == 0:
        return own
    common = autoregressive(generator, steps, 1, phi)
    return np.sqrt(rho) * common + np.sqrt(1 - rho) * own


def scenario(
    generator: np.random.Generator, case: Case, streams: int = 100, steps: int = 5_000,
    *, signs: bool = False,
) -> tuple[Float64, Int64]:  # fmt: skip
    """Return one scenario.

    Args:
        generator: Source of randomness.
        case: What changes.
        streams: Number of streams.
        steps: Number of steps, reference included.
        signs: Whether changes go up or down by chance; otherwise all go up, which moves the median.

    Returns:
        float64[steps, streams], and int64[streams], the step at which each stream's change begins,
        or :data:`NEVER`.
    """
    values = correlated(generator, steps, streams, case.rho)
    onset = np.full(streams, NEVER)
    if case.size:
        count = round(SHARE * streams)
        changed = generator.permutation(streams)[:count]
        times = generator.integers(FIRST_ONSET, LAST_ONSET + 1, count)
        if case.together:
            times = np.repeat(times[:2], count // 2)
        onset[changed] = times
        since = np.arange(steps)[:, None] - times
        shape = np.clip(since / RAMP, 0, 1) if case.ramp else (since >= 0).astype(float)
        sign = generator.choice([-1.0, 1.0], count) if signs else 1.0
        values[:, changed] += case.size * shape * sign
    return values, onset


def bernoulli(
    generator: np.random.Generator, streams: int, steps: int, before: float, after: float
) -> tuple[Float64, Int64]:
    """Return errors (0 or 1) whose rate changes in half of the streams.

    Args:
        generator: Source of randomness.
        streams: Number of streams.
        steps: Number of steps.
        before: Rate before the change.
        after: Rate after it.

    Returns:
        float64[steps, streams] and int64[streams], as :func:`scenario`.
    """
    onset = np.full(streams, NEVER)
    changed = generator.permutation(streams)[: streams // 2]
    onset[changed] = generator.integers(FIRST_ONSET, LAST_ONSET + 1, len(changed))
    late = (np.arange(steps)[:, None] >= onset) & (onset != NEVER)
    rate = np.where(late, after, before)
    return (generator.random((steps, streams)) < rate).astype(float), onset
