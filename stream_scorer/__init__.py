"""Score card transactions on a Kafka stream with a deployed fraud model, exactly once.

Other programs may import :mod:`stream_scorer.client` and :mod:`stream_scorer.simulator`. Everything
else may change with any version.
"""

__version__ = "0.1.0"
