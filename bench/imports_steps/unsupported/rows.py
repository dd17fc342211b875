"""Training data of the models that cannot be imported; needs numpy only.

``CODES`` are so many categories that CatBoost uses their statistics, and they decide the label.
"""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_RANDOM = np.random.default_rng(5)
ROWS: Float64 = _RANDOM.normal(size=(400, 4))
FRAUD: Float64 = (ROWS[:, 0] + 0.3 * _RANDOM.normal(size=400) > 0.5).astype(np.float64)
AMOUNTS: Float64 = np.abs(ROWS[:, 0]) + 0.1
CLASSES: Float64 = np.digitize(ROWS[:, 0], [-0.5, 0.5]).astype(np.float64)
CODES: Float64 = _RANDOM.integers(0, 60, 400) + 100 * FRAUD
