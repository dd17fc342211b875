"""What turns sums into probabilities, with our arithmetic and with the C library's."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from stream_scorer.models.predictors.parts import After, Platt, Sigmoid, SingleSigmoid, Table
from stream_scorer.models.predictors.steps import finisher
from tests.support.core import portable_source

Float64 = NDArray[np.float64]
Step = Callable[[Float64], Float64]
OURS = portable_source.functions()
MARGINS = np.concatenate([
    np.random.default_rng(4).normal(0, 6, 30_000), [0.0, -0.0, 700.0, -700.0, 1e300, -1e300],
])  # fmt: skip
STEPS: list[tuple[After, Callable[[Float64], Float64]]] = [
    (Sigmoid(), lambda x: x),
    (Sigmoid(1.7, -0.3), lambda x: x * 1.7 + -0.3),
    (Platt(-1.3, 0.2), lambda x: -(x * -1.3 + 0.2)),
]


def finished(step: After, margins: Float64, *, own: bool) -> Float64:
    out = margins.copy()
    finisher(step, own_exponential=own)(out)
    return out


@pytest.mark.parametrize(("step", "scaled"), STEPS)
def test_each_multiplies_and_adds_before_its_sigmoid(step: After, scaled: Step) -> None:
    with np.errstate(all="ignore"):
        ours, theirs = OURS["expit"](scaled(MARGINS)), special.expit(scaled(MARGINS))
    assert finished(step, MARGINS, own=True).tobytes() == ours.tobytes()
    assert finished(step, MARGINS, own=False).tobytes() == theirs.tobytes()


def test_the_sigmoid_of_float32_is_ours_or_the_librarys() -> None:
    margins = MARGINS[np.abs(MARGINS) < 1e30].astype(np.float32).astype(np.float64)
    ours = finished(SingleSigmoid(), margins, own=True)
    with np.errstate(all="ignore"):
        assert ours.tobytes() == OURS["single_sigmoid"](margins).tobytes()
    # The power is rounded to float32, so a last bit of float64 rarely shows.
    theirs = finished(SingleSigmoid(), margins, own=False)
    assert np.abs(ours - theirs).max() < 1e-7
    assert np.count_nonzero(ours != theirs) < 10


def test_a_table_is_the_same_with_both() -> None:
    table = Table(np.array([-1.0, 0.0, 2.0]), np.array([0.1, 0.4, 0.9]))
    margins = np.clip(MARGINS, -5, 5)
    found = [finished(table, margins, own=own) for own in (False, True)]
    assert found[0].tobytes() == found[1].tobytes()
