"""Models of scikit-learn: from a fitted estimator, or the bytes of a skops file, to data."""
