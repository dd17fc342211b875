"""Rows that try each border of a CatBoost model, with numpy alone."""

import json

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_LARGEST = float(np.finfo(np.float32).max)
_OVERFLOW = 2.0**128 - 2.0**103
"""The smallest float64 that is rounded to an infinite float32."""

SPECIAL = np.array([
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-310, 2.0**-150,
    np.nextafter(2.0**-150, 1), 1.4e-45, -1.4e-45, 1e-40, -1e-40, 1e-38, -1e-38, 1.0, -1.0, 1e300,
    -1e300, _LARGEST, -_LARGEST, _OVERFLOW, -_OVERFLOW, np.nextafter(_OVERFLOW, 0),
    -np.nextafter(_OVERFLOW, 0), 2.0**128, -(2.0**128),
])  # fmt: skip
"""Numbers that a comparison may treat in a special way."""

INTEGERS = np.concatenate([
    np.arange(-130.0, 131.0), [-0.0, 24_525, -80_119, 9_999, -10_000, 100_000, 999_999, -999_999],
])  # fmt: skip
"""Categories: seen and unseen ones, and two with the same hash."""


def rows_for(text: bytes, random_rows: int = 1000) -> Float64:
    """Return float64[n, m]: rows that try each border of a model, special values, and random rows.

    Each border is tried in float32 and float64, at the border, next to it on both sides, and at the
    last float64 that is rounded to it, also next to it on both sides.

    Args:
        text: The JSON file.
        random_rows: How many random rows there are.
    """
    random = np.random.default_rng(13)
    info = json.loads(text)["features_info"]
    values: dict[int, Float64] = {}
    for feature in info.get("float_features") or []:
        borders = np.array(feature["borders"] or [], np.float64)
        values[feature["flat_feature_index"]] = np.concatenate([around(borders), SPECIAL])
    usual = random.normal(size=(random_rows, len(values)))
    for feature in info.get("categorical_features") or []:
        values[feature["flat_feature_index"]] = INTEGERS
    columns = [values[column] for column in range(len(values))]
    blocks = [_drawn(random, columns, random_rows), _drawn(random, columns, random_rows)]
    floats = [feature["flat_feature_index"] for feature in info.get("float_features") or []]
    blocks[0][:, floats] = usual
    for column, tried in enumerate(columns):
        block = _drawn(random, columns, len(tried))
        block[:, column] = tried
        blocks.append(block)
    return np.ascontiguousarray(np.concatenate(blocks))


def _drawn(random: np.random.Generator, usual: list[Float64], count: int) -> Float64:
    """Return rows of values that are near borders or special in each column."""
    return np.stack([random.choice(values, count) for values in usual], axis=1)


def around(borders: Float64) -> Float64:
    """Return float64[12 k]: k borders, and the numbers next to them in float32 and float64."""
    with np.errstate(all="ignore"):
        at = borders.astype(np.float32)
        singles = [at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))]
        doubles = [single.astype(np.float64) for single in singles]
        doubles.append((doubles[0] + np.minimum(doubles[1], 2.0**128)) / 2)
        near = [
            [double, np.nextafter(double, np.inf), np.nextafter(double, -np.inf)]
            for double in doubles
        ]
    return np.concatenate([number for each in near for number in each])
