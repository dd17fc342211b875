"""The work of ``rekey``: turns a batch into the same records, keyed by the customer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import rejections_of
from stream_scorer.codec.reading.mapped import EventDecoder, skipped_rows
from stream_scorer.codec.records.decode_quarantined import decode_without
from stream_scorer.core.events.batch import Rejections, RejectReason
from stream_scorer.dead_letters.format import ORIGINAL_BYTES_MAX, dead_letters, size_of
from stream_scorer.errors import OffsetsError, RegistryUnavailableError
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Result, Stages
from stream_scorer.ports import BytesColumn, Headers, Int64, Outgoing, Paused, RawRecords
from stream_scorer.telemetry import BatchCommitted

REKEYED_FROM: Final = "rekeyed-from"
"""The last header of a copied record. It names the original: TOPIC:PARTITION:OFFSET."""
_NOTE: Final = "1"
_Refusal = tuple[int, RejectReason, str]


@dataclass(frozen=True, slots=True)
class RekeyRoute:
    """The topics of a copy.

    Attributes:
        source: Topic that is read.
        partitions: Number of its partitions.
        target: Topic of the copies.
        dead_letters: Topic of the records without a readable customer.
        instance: Name of this process, for dead letters.
    """

    source: str
    partitions: int
    target: str
    dead_letters: str
    instance: str

    def note(self) -> bytes:
        """Return the note that each commit keeps with the offsets: the target of the copies."""
        return f"{_NOTE} {self.target}".encode()

    def check(self, notes: Mapping[int, bytes], group: str) -> None:
        """Check that the group's offsets are those of copies in this target.

        Args:
            notes: The notes of the last commit, by partition.
            group: The group.

        Raises:
            OffsetsError: They are those of another target, or of another program.
        """
        for partition, note in notes.items():
            if note != self.note():
                raise OffsetsError(
                    f"group {group} has read {self.source} partition {partition} for another "
                    f"target or program than a copy to {self.target}",
                    "give this copy a separate rekey.group",
                )


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """The result of a batch.

    Attributes:
        rejected: Dead letters by reason.
        skipped: Records that are not transactions.
    """

    rejected: Mapping[str, int]
    skipped: int


class RekeyWork:
    """Copies batches for a transaction loop; it has no state.

    Args:
        route: The topics.
        decoder: Reads the customers.
    """

    def __init__(self, route: RekeyRoute, decoder: EventDecoder) -> None:
        self._route = route
        self._decoder = decoder
        self._given: set[int] = set()
        self._notes = dict.fromkeys(range(route.partitions), route.note())

    def assigned(self, offsets: dict[int, int]) -> None:
        """Add partitions; each is ready at the next ``restore``."""
        self._given |= offsets.keys()

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget partitions."""
        self._given.difference_update(partitions)

    def close(self) -> None:
        """Do nothing: it has no connections."""

    def restoring(self) -> bool:
        """Whether ``restore`` has partitions to return."""
        return bool(self._given)

    def restore(self) -> set[int]:
        """Return the new partitions: there is nothing to restore."""
        given, self._given = self._given, set()
        return given

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Rekeyed]:
        """Return a batch's records with their customers as keys, and its dead letters.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that become dead letters unread, each with its failure.

        Raises:
            Paused: The registry does not answer.
        """
        try:
            events, rows, rejections = decode_without(
                self._decoder, raw, quarantined, budgeted=True
            )
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        stages.lap("decode")
        customers = events.records.column("customer_id")
        empty = pc.equal(pc.binary_length(customers), 0).to_numpy(zero_copy_only=False)
        skipped = len(skipped_rows(len(raw), rows, rejections))
        if empty.any():
            rejections = _with(
                rejections, rows[empty], RejectReason.ID_EMPTY, "customer_id is empty"
            )
            customers, rows = customers.filter(pa.array(~empty)), rows[~empty]
        outgoing: list[Outgoing] = []
        if len(rows):
            copies = self._copies(raw, rows, customers)
            large = _too_large(copies)
            if large.any():
                rejections = _with(
                    rejections, rows[large], RejectReason.TOO_LARGE,
                    f"the copy would have more than {ORIGINAL_BYTES_MAX} bytes",
                )  # fmt: skip
                customers, rows = customers.filter(pa.array(~large)), rows[~large]
                copies = self._copies(raw, rows, customers)
            if len(rows):
                outgoing.append(copies)
        if len(rejections.rows):
            route = self._route
            outgoing.append(
                dead_letters(
                    raw, rejections.rows.tolist(), rejections.reasons, rejections.details,
                    topic=route.dead_letters, source_topic=route.source, instance=route.instance,
                )
            )  # fmt: skip
        stages.lap("encode")
        rejected = Counter(reason.value for reason in rejections.reasons)
        return Result(outgoing, Rekeyed(rejected, skipped), self._notes)

    def _copies(self, raw: RawRecords, rows: Int64, customers: pa.Array) -> Outgoing:
        chosen = raw if len(rows) == len(raw) else raw.take(rows)
        before: Sequence[Headers] = chosen.headers or [None] * len(rows)
        places = zip(before, chosen.partition.tolist(), chosen.offset.tolist(), strict=True)
        source = self._route.source
        headers: list[Headers] = [
            [*(theirs or ()), (REKEYED_FROM, f"{source}:{partition}:{offset}".encode())]
            for theirs, partition, offset in places
        ]
        return Outgoing(
            self._route.target, chosen.values, _bytes_of(customers), headers,
            timestamps=chosen.timestamp,
        )  # fmt: skip

    def keep(self, result: Result[Rekeyed], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Return the event of the commit."""
        return BatchCommitted(
            records=len(raw),
            outcomes={},
            model="",
            version="",
            rejected=result.delta.rejected,
            stage_seconds=stages.seconds,
            next_offsets=raw.next_offsets(),
            skipped=result.delta.skipped,
        )

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:  # noqa: ARG002 see Work
        """Return nothing: there is no state to flush."""
        return ()

    def undo(self, result: Result[Rekeyed]) -> None:
        """Do nothing: a batch changes no state."""


def _too_large(copies: Outgoing) -> NDArray[np.bool_]:
    """Whether each of n copies is larger than the records that a topic's default limit accepts."""
    headers = copies.headers or [None] * len(copies.values)
    sizes = np.diff(copies.values.offsets) + np.diff(copies.keys.offsets)
    return sizes + [size_of(None, None, each) for each in headers] > ORIGINAL_BYTES_MAX


def _with(rejections: Rejections, rows: Int64, reason: RejectReason, detail: str) -> Rejections:
    """Add rows that are rejected for one reason."""
    listed: list[_Refusal] = list(
        zip(rejections.rows.tolist(), rejections.reasons, rejections.details, strict=True)
    )
    listed += [(row, reason, detail) for row in rows.tolist()]
    return rejections_of(listed)


def _bytes_of(texts: pa.Array) -> BytesColumn:
    """Return n strings without nulls as bytes."""
    _, ends, data = texts.buffers()
    first = texts.offset
    offsets = np.frombuffer(ends, np.int32)[first : first + len(texts) + 1].astype(np.int64)
    # Writable, as polled columns are: the producer's kernels are compiled for such a pair.
    return BytesColumn(np.frombuffer(data, np.uint8).copy(), offsets)
