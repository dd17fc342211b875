"""A real Apache Kafka for the demo, the tests and the benches."""

from stream_scorer.devkafka.background import Running, connected, running
from stream_scorer.devkafka.cluster import DevKafka

__all__ = ["DevKafka", "Running", "connected", "running"]
