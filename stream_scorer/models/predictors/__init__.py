"""Predictors: the scores of scikit-learn, computed by kernels at a fraction of its cost."""
