"""The exponential and the logistic functions, bit-identical on every target.

The method is the one that glibc and others use since 2018, after Tang (1989) and Gal (1986).
x = (128 k + j) ln(2) / 128 + r, where k and j are integers, 0 <= j < 128 and |r| <= ln(2) / 256.
exp(x) = 2^k 2^(j/128) exp(r), where a table has 2^(j/128) and exp(r) is a polynomial. Its
coefficients are those of the smallest greatest error over these r: 2^-65.4. There is no branch, so
each row costs the same.

The error of ``exp`` is less than 1 ulp, and it is at most 1 ulp from the C library's, with which
``1 / (1 + exp(-x))`` agrees bit for bit in almost all values where that does not use fused
operations. docs/adr/0120-one-arithmetic.md has measured numbers.

The subset of Python
--------------------

This file is the only source: numba compiles it, and programs render it in other languages. So all
its functions but those over arrays, whose names end in ``_all``, are written in a subset of Python.
``tests/unit/core/arithmetic/test_subset.py`` refuses anything else.

- A module has imports, constants and functions. A constant is a literal number, or a literal with
  a minus sign. Numbers with a point or an exponent are float64, others are int64.
- A function takes float64 values and returns one. Its body, after the docstring, is assignments of
  an expression to a new name, then one ``return``. Nothing is assigned twice.
- An expression is a name, a literal number, ``-x``, or one of
    - ``+ - * /`` of two float64, in the order that Python gives them; each result is rounded;
    - ``+ - & << >>`` of two int64; nothing overflows, and ``>>`` keeps the sign;
    - ``TABLE[i]``: element i of a float64 table of ``exponential_table``, i being within it;
    - ``bits_of(x)`` and ``double_of(i)``: the same 64 bits as the other type;
    - ``select(condition, x, y)``, whose condition is one comparison ``== < >`` of two float64. It
      is false if one is NaN. Both x and y are computed, and have no effects;
    - ``single(x)``: x rounded to float32, and back;
    - a call of a function that is defined above.
- Rounding is to the nearest, ties to even. Subnormal numbers are not flushed to zero.
"""

from stream_scorer.core.arithmetic.exponential_table import POWERS, TAILS
from stream_scorer.core.arithmetic.intrinsics import select, single
from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.core.kernels.memory import bits_of, double_of

_LEAST = -746.0
"""Below it, ``exp`` is 0."""
_MOST = 710.0
"""Above it, ``exp`` is infinite."""

_STEPS = 184.6649652337873
"""128 / ln(2)."""
_SHIFT = 6755399441055744.0
"""1.5 * 2^52: a sum with it is rounded to an integer, which its low bits then have."""
_SHIFT_BITS = 0x4338000000000000
_STEP_HIGH = 0.005415212348111709
"""ln(2) / 128, cut off after 2^-43: its products with k and j are exact in the normal range."""
_STEP_LOW = 1.2864023111638346e-14
_C2 = 0.49999999999996786
_C3 = 0.16666666666665886
_C4 = 0.04166668084269067
_C5 = 0.008333335851264497

_TABLE_MASK = 127
_TABLE_BITS = 7
_BIAS = 1023
_MANTISSA_BITS = 52
_NOT_A_NUMBER = 0x7FF8000000000000
"""The bits of every NaN that is returned."""

_SINGLE_MOST = 88.69999694824219
"""XGBoost's greatest exponent, 88.7 as a float32."""


@numeric
def exp(x):
    """Return e to the power of a float64: 0 below -745.2, infinity above 709.8, NaN of NaN."""
    above = select(x > _LEAST, x, _LEAST)
    held = select(above < _MOST, above, _MOST)
    shifted = held * _STEPS + _SHIFT
    rounded = shifted - _SHIFT
    step = bits_of(shifted) - _SHIFT_BITS
    j = step & _TABLE_MASK
    k = step >> _TABLE_BITS
    r = held - rounded * _STEP_HIGH - rounded * _STEP_LOW
    square = r * r
    grown = TAILS[j] + r + square * (_C2 + r * _C3) + square * square * (_C4 + r * _C5)
    value = POWERS[j] + POWERS[j] * grown
    # 2^k in two factors, because neither 2^1024 nor 2^-1077 is a normal number.
    half = k >> 1
    first = double_of((half + _BIAS) << _MANTISSA_BITS)
    second = double_of((k - half + _BIAS) << _MANTISSA_BITS)
    return select(x == x, value * first * second, double_of(_NOT_A_NUMBER))  # noqa: PLR0124 not NaN


@numeric
def expit(x):
    """Return 1 / (1 + exp(-x)) of a float64: a probability from log-odds."""
    return select(x == x, 1.0 / (1.0 + exp(-x)), double_of(_NOT_A_NUMBER))  # noqa: PLR0124 not NaN


@numeric
def single_sigmoid(x):
    """Return XGBoost's sigmoid of a float32 number, which is one, too; both as float64.

    XGBoost computes in float32. The power is computed in float64 and rounded, so it does not depend
    on a library's float32 ``exp``. A sum or quotient of two float32 numbers that is rounded to
    float64 and then to float32 is the float32 one, so the others are the same.
    """
    negative = -x
    exponent = select(negative < _SINGLE_MOST, negative, _SINGLE_MOST)
    value = single(1.0 / single(1.0 + single(exp(exponent))))
    return select(x == x, value, double_of(_NOT_A_NUMBER))  # noqa: PLR0124 not NaN


@numeric
def expit_all(margins):
    """Replace float64[n] log-odds by their probabilities; nothing is allocated."""
    for row in range(len(margins)):
        margins[row] = expit(margins[row])


@numeric
def single_sigmoid_all(margins):
    """Replace float64[n], which are float32 numbers, by XGBoost's sigmoid of each."""
    for row in range(len(margins)):
        margins[row] = single_sigmoid(margins[row])
