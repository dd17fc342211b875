"""Score card transactions on a Kafka stream with a deployed fraud model, exactly once."""

__version__ = "0.1.0"
