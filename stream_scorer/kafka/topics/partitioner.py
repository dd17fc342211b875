"""The partition of a key, by Kafka's default partitioner."""

from collections.abc import Iterable

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Return the 32-bit murmur2 hash that Kafka's clients use for partitioning."""
    h = _SEED ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * _MULTIPLIER & _MASK
        k ^= k >> 24
        h = (h * _MULTIPLIER & _MASK) ^ (k * _MULTIPLIER & _MASK)
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    h ^= h >> 13
    h = h * _MULTIPLIER & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key among ``partitions`` (``murmur2_random``)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def misplaced(sample: Iterable[tuple[bytes, int]], partitions: int) -> int:
    """Count the (key, partition) pairs in which the key belongs to another partition."""
    return sum(partition_of(key, partitions) != partition for key, partition in sample)
