"""scikit-learn's bits without its cost."""
