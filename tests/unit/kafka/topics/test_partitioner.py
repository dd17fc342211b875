import pytest

from stream_scorer.kafka.topics.partitioner import misplaced, murmur2, partition_of


# The test vectors of Apache Kafka's own UtilsTest.testMurmur2, as unsigned numbers.
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafkas_clients(key: bytes, value: int) -> None:
    assert murmur2(key) == value & 0xFFFFFFFF


def test_a_key_of_another_partition_is_counted() -> None:
    at = partition_of(b"21", 7)
    assert misplaced([(b"21", at), (b"21", (at + 1) % 7)], 7) == 1
