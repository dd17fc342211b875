"""A rolling sample of keys against their partitions.

Upstream must partition as Kafka's own clients do, or customers' histories are split.
"""

from stream_scorer.kafka.topics.partitioner import misplaced
from stream_scorer.ports import RawRecords
from stream_scorer.telemetry import KeyMisplaced, Listener

_SAMPLE_EVERY = 64


class KeySample:
    """Takes one key of each batch, and judges some of them at a time.

    Args:
        listener: Told how many of all that were sampled lie in another key's partition.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._sampled = 0
        self._misplaced = 0
        self._pairs: list[tuple[bytes, int]] = []

    def take(self, raw: RawRecords, partitions: int) -> None:
        """Sample a batch of an input with so many partitions."""
        key = raw.keys[-1]
        if key is not None:
            self._pairs.append((key, int(raw.partition[-1])))
        if len(self._pairs) < _SAMPLE_EVERY:
            return
        self._sampled += len(self._pairs)
        self._misplaced += misplaced(self._pairs, partitions)
        self._pairs.clear()
        self._listener(KeyMisplaced(self._sampled, self._misplaced))
