"""The few Protocols between the core and the outside, and the plain data that crosses them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Headers = list[tuple[str, bytes | None]] | None
CLIENT_HEADER = "scorer-client"
"""Header of a transaction that came through the API, and of its decision: the client, in UTF-8."""
BODY_HEADER = "scorer-body"
"""Header of the same records: which body it had; see ``serving.decisions.identity``."""
EDGE_DEVICE = "edge-device"
"""Header of a transaction that a device decided, and of its decision: the device, in UTF-8."""
EDGE_SEQUENCE = "edge-sequence"
"""Header of the same records: the number of the device's row, in decimal."""
EDGE_PREVIOUS = "edge-previous"
"""Header of the transaction: the device's hash chain before this row, 32 bytes."""
EDGE_DECISION = "edge-decision"
"""Header of the transaction: the device's decision, Avro with schema id 23."""
EDGE_DIGEST = "edge-digest"
"""Header of the transaction: SHA-256 of the device's decision."""
EDGE_SIGNATURE = "edge-signature"
"""Header of the transaction: Ed25519 over the device's hash chain after this row, 64 bytes."""
EDGE_HEADERS = (
    EDGE_DEVICE, EDGE_SEQUENCE, EDGE_PREVIOUS, EDGE_DECISION, EDGE_DIGEST, EDGE_SIGNATURE,
)  # fmt: skip
"""The headers of a device's row: all of them once, or none."""
Start = Literal["earliest", "latest"]
"""Where a group's first run begins."""


@dataclass(frozen=True, slots=True, eq=False)
class BytesColumn:
    """n byte strings back to back in one buffer; some may be null.

    Attributes:
        data: uint8, the bytes of all rows.
        offsets: int64[n + 1], row i is ``data[offsets[i]:offsets[i + 1]]``.
        null: bool[n], which rows are null (and empty); None when none is.
    """

    data: NDArray[np.uint8]
    offsets: Int64
    null: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, values: Iterable[bytes | None]) -> Self:
        """Put byte strings back to back."""
        rows = list(values)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([0 if row is None else len(row) for row in rows], out=offsets[1:])
        data = np.frombuffer(b"".join(row or b"" for row in rows), np.uint8)
        null = np.array([row is None for row in rows], np.bool_)
        return cls(data, offsets, null if null.any() else None)

    @classmethod
    def nulls(cls, count: int) -> Self:
        """Return ``count`` nulls."""
        return cls(np.empty(0, np.uint8), np.zeros(count + 1, np.int64), np.ones(count, np.bool_))

    @classmethod
    def joined(cls, parts: "Sequence[BytesColumn]") -> Self:
        """Concatenate columns.

        Args:
            parts: At least one.
        """
        data = [part.data[part.offsets[0] : part.offsets[-1]] for part in parts]
        ends = np.cumsum([0, *(len(each) for each in data)])
        offsets = [
            part.offsets[1:] - part.offsets[0] + end
            for part, end in zip(parts, ends[:-1], strict=True)
        ]
        null = None
        if any(part.null is not None for part in parts):
            null = np.concatenate(
                [np.zeros(len(p), np.bool_) if p.null is None else p.null for p in parts]
            )
        return cls(
            np.concatenate(data),
            np.concatenate([np.zeros(1, np.int64), *offsets]),
            null,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> bytes | None:
        at = range(len(self))[row]
        if self.null is not None and self.null[at]:
            return None
        return self.data[self.offsets[at] : self.offsets[at + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        if self.null is None:
            return iter(self.to_list())
        nulls = self.null.tolist()
        return (None if null else row for null, row in zip(nulls, self.to_list(), strict=True))

    def to_list(self) -> list[bytes]:
        """Return n byte strings; a null is empty."""
        first = self.offsets[0]
        joined = self.data[first : self.offsets[-1]].tobytes()
        bounds = (self.offsets - first).tolist()
        return [joined[start:end] for start, end in pairwise(bounds)]

    def between(self, first: int, end: int) -> Self:
        """Return the rows from ``first`` up to ``end``, without a copy of their bytes."""
        null = None if self.null is None else self.null[first:end]
        return type(self)(self.data, self.offsets[first : end + 1], null)

    def take(self, rows: Int64) -> Self:
        """Return the given rows, in the given order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        index = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        null = None if self.null is None else self.null[rows]
        return type(self)(self.data[index], offsets, null)


@dataclass(frozen=True, slots=True)
class RawRecords:
    """n undecoded records as columns, in the order in which they were polled.

    Attributes:
        values: n payloads; null is a null value.
        keys: n keys; null is a record without a key.
        headers: n header lists, None where a record has none; None when no record has any.
        partition: int32[n].
        offset: int64[n].
        timestamp: int64[n], the record's Kafka timestamp in ms since the epoch.
        unreadable: bool[n], records that the client refuses to inflate: their keys and values are
            null; None when none is.
        appended: bool[n], records whose timestamp the broker gave them when it appended them
            (``LogAppendTime``), so that no producer chose it; None when none is.
        headless: bool[n], records without some of their headers, because those of the records
            before them in the poll were so large; read again, they have them. None when none is.
    """

    values: BytesColumn
    keys: BytesColumn
    headers: Sequence[Headers] | None
    partition: NDArray[np.int32]
    offset: Int64
    timestamp: Int64
    unreadable: NDArray[np.bool_] | None = None
    appended: NDArray[np.bool_] | None = None
    headless: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def where(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the chosen rows (bool[n])."""
        return self if chosen.all() else self.take(np.flatnonzero(chosen))

    def take(self, rows: Int64) -> Self:
        """Return the given rows, in the given order."""
        return type(self)(
            self.values.take(rows),
            self.keys.take(rows),
            None if self.headers is None else [self.headers[row] for row in rows.tolist()],
            self.partition[rows],
            self.offset[rows],
            self.timestamp[rows],
            None if self.unreadable is None else self.unreadable[rows],
            None if self.appended is None else self.appended[rows],
            None if self.headless is None else self.headless[rows],
        )

    def between(self, first: int, end: int) -> Self:
        """Return the rows from ``first`` up to ``end``, without a copy of their bytes."""
        span = slice(first, end)
        return type(self)(
            self.values.between(first, end), self.keys.between(first, end),
            None if self.headers is None else self.headers[span],
            self.partition[span], self.offset[span], self.timestamp[span],
            None if self.unreadable is None else self.unreadable[span],
            None if self.appended is None else self.appended[span],
            None if self.headless is None else self.headless[span],
        )  # fmt: skip

    def of_partition(self, number: int) -> Self:
        """Return the rows under another partition's number."""
        return replace(self, partition=np.full(len(self), number, np.int32))

    def without(self, rows: Collection[int]) -> tuple[Self, Int64]:
        """Return the other rows, and int64[k], their row numbers here."""
        kept = np.ones(len(self), np.bool_)
        kept[list(rows)] = False
        return self.where(kept), np.flatnonzero(kept)

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Self:
        """Return the rows of one or more pieces, in order."""
        if len(pieces) == 1:
            return pieces[0]
        headers = None
        if any(piece.headers is not None for piece in pieces):
            headers = [each for piece in pieces for each in (piece.headers or [None] * len(piece))]
        return cls(
            BytesColumn.joined([piece.values for piece in pieces]),
            BytesColumn.joined([piece.keys for piece in pieces]),
            headers,
            np.concatenate([piece.partition for piece in pieces]),
            np.concatenate([piece.offset for piece in pieces]),
            np.concatenate([piece.timestamp for piece in pieces]),
            _marks([(len(piece), piece.unreadable) for piece in pieces]),
            _marks([(len(piece), piece.appended) for piece in pieces]),
            _marks([(len(piece), piece.headless) for piece in pieces]),
        )

    def next_offsets(self) -> dict[int, int]:
        """Return the next offset of each partition (last offset + 1)."""
        return {
            p: int(self.offset[self.partition == p].max()) + 1 for p in set(self.partition.tolist())
        }


def _marks(pieces: Sequence[tuple[int, NDArray[np.bool_] | None]]) -> NDArray[np.bool_] | None:
    """Return the marks of pieces, each with its length, as one; None if no piece has any."""
    if all(marks is None for _, marks in pieces):
        return None
    return np.concatenate(
        [np.zeros(length, np.bool_) if marks is None else marks for length, marks in pieces]
    )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """n records for one topic, as columns.

    Attributes:
        topic: The topic.
        values: n values.
        keys: n keys.
        headers: n header lists; None means that none has any.
        partition: int32[n]; None means that the partitioner chooses by key.
        timestamps: int64[n], ms since the epoch; None means the time at which they are sent.
    """

    topic: str
    values: BytesColumn
    keys: BytesColumn
    headers: Sequence[Headers] | None = None
    partition: NDArray[np.int32] | None = None
    timestamps: Int64 | None = None


class Paused(Exception):  # noqa: N818 an outcome that the loop handles, not a user's error
    """The work cannot be done now, through no fault of the batch; the loop waits and retries.

    Attributes:
        dependency: What is missing, such as ``registry`` or ``model``.
    """

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(detail)
        self.dependency = dependency


class TransactionAborted(Exception):  # noqa: N818 an outcome that the loop handles, not a user's error
    """The open transaction was aborted; no consumer sees any of it.

    Attributes:
        network: Whether the cause was the connection to the broker, so that a retry can succeed.
        too_large: Whether the client or the broker refused a record for its size.
    """

    def __init__(self, cause: str, *, network: bool, too_large: bool = False) -> None:
        super().__init__(cause)
        self.network = network
        self.too_large = too_large


StoredRecords = Sequence[tuple[bytes | None, bytes | None]]
"""(key, value) pairs in the order of a store; a null value deletes the key's record."""


class CheckpointStore(Protocol):
    """The store of the buckets of one group's state for one input, as records by key.

    Attributes:
        transactional: Whether the scorer publishes records in its own transaction, so that they
            are as exactly-once as its decisions; else it calls ``write`` after the commit.
        topic: The topic that such records go to, each to its input partition's number.
    """

    transactional: bool
    topic: str

    def read(self, partition: int) -> Iterator[StoredRecords]:
        """Yield the records of an input partition, oldest first, some at a time.

        An empty list means that nothing has arrived yet, so that the caller can do other work.
        """
        ...

    def sample(self) -> StoredRecords:
        """Return one record of each partition that has any."""
        ...

    def write(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write records by key; null values delete them. They are durable on return."""
        ...


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
