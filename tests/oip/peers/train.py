"""Train the small classifier that a peer serves; runs with the peer's Python.

``python train.py FILE`` writes it with joblib. Its three features are those of the suite's sample.
"""

import sys

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression


def main() -> None:
    """Write the model."""
    features = np.random.default_rng(0).normal(size=(200, 3))
    labels = (features @ [1.0, -2.0, 0.5] > 0).astype(np.int64)
    joblib.dump(LogisticRegression().fit(features, labels), sys.argv[1])


if __name__ == "__main__":
    main()
