"""Training data on which CatBoost finds borders of many kinds, with numpy alone."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Random = np.random.Generator

SAME_HASH = (24_525, -80_119)
"""Two integers that have the same hash as categories."""

_LARGEST = float(np.finfo(np.float32).max)
_SHAPES = {"few": (40, 4), "wide": (800, 25), "one": (600, 1)}


def training_data(kind: str) -> tuple[Float64, Float64]:
    """Return float64[n, m] and float64[n]: features, and classes or probabilities."""
    random = np.random.default_rng(11)
    shape = _SHAPES.get(kind, (800, 5))
    features = random.normal(size=shape)
    score = features[:, 0] - 0.5 * features[:, -1] ** 2 + random.normal(size=shape[0])
    if kind in _CHANGES:
        features = _CHANGES[kind](features, random)
    if kind == "shares":
        return features, 1 / (1 + np.exp(-score))
    bounds = [0.5, 0.8] if kind == "classes" else [0.7]
    return features, np.digitize(score, np.quantile(score, bounds)).astype(np.float64)


def _missing(features: Float64, random: Random) -> Float64:
    drawn = random.random(features.shape) < 0.15
    drawn[:, -1] = False
    return np.where(drawn, np.nan, features)


def _edge(features: Float64, random: Random) -> Float64:
    return random.choice([-_LARGEST, -1e-45, 0.0, 1e-45, _LARGEST], size=features.shape)


def _neighbours(features: Float64, random: Random) -> Float64:
    """Return values that are next to each other in float32, so that borders are, too."""
    numbers = np.float32(1).view(np.int32) + random.integers(0, 40, features.shape)
    return numbers.astype(np.int32).view(np.float32).astype(np.float64)


def _categories(features: Float64, random: Random) -> Float64:
    """Return columns of which 1, 3 and 4 are categories: about 30, three, and two."""
    first, last = features[:, 0], np.abs(features[:, -1])
    columns = [
        random.normal(size=len(features)),
        np.round(5 * first),
        first + random.normal(size=len(features)),
        np.floor(np.minimum(last, 2)),
        np.where(first + random.normal(size=len(features)) > 0, SAME_HASH[0], -7),
    ]
    return np.stack(columns, axis=1)


_CHANGES: dict[str, Callable[[Float64, Random], Float64]] = {
    "missing": _missing,
    "categories": _categories,
    "edge": _edge,
    "neighbours": _neighbours,
    "tiny": lambda features, _: features * 1e-40,
    "huge": lambda features, _: features * 1e37,
    "integers": lambda features, _: np.round(2 * features),
    "amounts": lambda features, _: np.round(100 * np.exp(3 * features)) / 100,
    "zeros": lambda features, random: np.where(
        random.random(features.shape) < 0.7,
        -0.0,
        np.abs(features),
    ),
}
