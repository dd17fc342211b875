"""The few Protocols between the core and the outside, and the plain data that crosses them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Headers = list[tuple[str, bytes | None]] | None


@dataclass(frozen=True, slots=True)
class RawRecords:
    """n undecoded records as columns, in the order in which they were polled.

    Attributes:
        values: n payloads; None is a null value.
        keys: n keys; None is a record without a key.
        headers: n header lists; None where a record has none.
        partition: int32[n].
        offset: int64[n].
        timestamp: int64[n], the record's Kafka timestamp in ms since the epoch.
    """

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    headers: Sequence[Headers]
    partition: NDArray[np.int32]
    offset: Int64
    timestamp: Int64

    def __len__(self) -> int:
        return len(self.values)

    def next_offsets(self) -> dict[int, int]:
        """Return, by partition, the offset behind its newest record."""
        return {
            p: int(self.offset[self.partition == p].max()) + 1 for p in set(self.partition.tolist())
        }


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One record to be produced inside the open transaction."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = None
    partition: int = -1


class Predictor(Protocol):
    """A model that scores rows; equal bits for a row in any batch.

    ``features`` is float64[n, m], C-contiguous, columns in manifest order.
    """

    feature_count: int

    def scores(self, features: Float64) -> Float64:
        """Return float64[n]: the probability of fraud in [0, 1]."""
        ...

    def raw(self, features: Float64) -> Float64:
        """Return float64[n]: the additive score that attributions explain (log-odds or mean)."""
        ...

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        """Return (float64[n, m], base): per row, the sum plus base is ``raw`` within 1e-9."""
        ...
