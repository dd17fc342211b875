"""The rendered functions compute what the core computes, and the renderer refuses anything else."""

import ast

import numpy as np
import pytest

from stream_scorer.core.arithmetic import exponential
from stream_scorer.edge.export.c_text import RenderError, _CExpressions
from stream_scorer.edge.native import arithmetic

NUMBERS = np.random.default_rng(5)
VALUES = np.concatenate([
    NUMBERS.uniform(-12, 12, 20_000), NUMBERS.uniform(-750, 750, 20_000),
    NUMBERS.normal(0, 1e-9, 2_000),
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 709.8, 710.0, -745.2, -746.0, 1e300, -1e300],
])  # fmt: skip


@pytest.mark.parametrize("name", ["exp", "expit"])
def test_numpy_has_the_bits_of_the_core(name: str) -> None:
    with np.errstate(all="ignore"):
        found = getattr(arithmetic, name)(VALUES)
    want = np.array([getattr(exponential, name)(value) for value in VALUES])
    assert found.tobytes() == want.tobytes()


def test_numpy_has_the_bits_of_the_cores_float32_sigmoid() -> None:
    with np.errstate(all="ignore"):
        values = VALUES.astype(np.float32).astype(np.float64)
        found = arithmetic.single_sigmoid(values)
    want = np.array([exponential.single_sigmoid(value) for value in values])
    assert found.tobytes() == want.tobytes()


def rendered(text: str) -> str:
    names = {"x": "double", "y": "double", "i": "int64_t", "_CUT": "double"}
    return _CExpressions(names, {"exp": 1}).rendered(ast.parse(text, mode="eval").body)[0]


@pytest.mark.parametrize(
    ("text", "c"),
    [
        ("x + y * 2.0", "(x + (y * 0x1.0000000000000p+1))"),
        ("-x / _CUT", "((-x) / SS_CUT)"),
        ("(i >> 7) & 15", "((i >> INT64_C(0x7)) & INT64_C(0xf))"),
        ("select(x < y, exp(x), 0.5)", "((x < y) ? ss_exp(x) : 0x1.0000000000000p-1)"),
        ("double_of(bits_of(x) + 1)", "ss_double_of((ss_bits_of(x) + INT64_C(0x1)))"),
        ("TAILS[i]", "SS_TAILS[i]"),
    ],
)
def test_an_expression_is_rendered_in_its_order(text: str, c: str) -> None:
    assert rendered(text) == c


@pytest.mark.parametrize(
    "text",
    [
        "x + i", "x ** y", "x % y", "i / i", "x & y", "TAILS[x]", "unknown", "unknown(x)",
        "exp(i)", "exp(x, y)", "select(x < i, x, y)", "select(x <= y, x, y)", "select(x, x, y)",
        "select(x < y, i, i)", "x if x < y else y", "'x'", "True", "bits_of(i)", "double_of(x)",
        "exp(x=x)",
    ],
)  # fmt: skip
def test_what_is_not_in_the_subset_is_refused(text: str) -> None:
    with pytest.raises(RenderError, match="not in the subset"):
        rendered(text)
