"""A customer's bucket."""

import numpy as np
import pyarrow as pa

from stream_scorer.core.rings.buckets import BUCKETS, bucket_of
from tests.support.core.ring_oracle import hashes


def test_a_bucket_is_the_top_ten_bits_of_the_hash() -> None:
    ids = ["", "a", "customer", "ä"]
    buckets = bucket_of(pa.array(ids))
    assert buckets.tolist() == [int(h) >> 54 for h in hashes(ids)]
    assert buckets.dtype == np.int32
    assert max(buckets) < BUCKETS == 1_024
