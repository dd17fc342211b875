"""Encodes the results of a batch: decisions, shadow scores, dead letters and summaries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.records.codecs import Codecs
from stream_scorer.core.decision.decide_batch import ArmDecisions, DecidedBatch
from stream_scorer.core.events.batch import Flag, Rejections, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import NO_KEYS, Draws
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summaries import InputRecords, SummaryInput, summarize
from stream_scorer.dead_letters.format import dead_letters
from stream_scorer.ports import (
    BODY_HEADER,
    CLIENT_HEADER,
    EDGE_DEVICE,
    EDGE_SEQUENCE,
    BytesColumn,
    Headers,
    Outgoing,
    RawRecords,
)
from stream_scorer.rollout.log.activation import BatchPiece
from stream_scorer.settings import Topics

Int64 = NDArray[np.int64]

TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage", "b3"})
"""Trace headers that a decision copies from its transaction: W3C Trace Context, Baggage, B3."""
_DEVICE: Final = frozenset({EDGE_DEVICE, EDGE_SEQUENCE})
_COPIED: Final = TRACE_HEADERS | {CLIENT_HEADER, BODY_HEADER} | _DEVICE
"""All headers that it copies: also those by which the API recognizes a repeat, and those that name
a device's row.
"""
TRACE_BYTES_MAX: Final = 8_192
"""Maximum bytes of the copied headers of one decision, names included; the limit of W3C Baggage.
Those that name a device's row are small, and are copied in any case.
"""


@dataclass(frozen=True, slots=True)
class PieceDecisions:
    """The decisions of a piece of a batch.

    Attributes:
        piece: The events, and the revision that decides them.
        made: The decisions, shadow scores and rejections.
    """

    piece: BatchPiece
    made: DecidedBatch

    def places(self, rows: Int64) -> Int64:
        """Return the rows of the decoded batch that are the given rows of the piece."""
        return rows if self.piece.rows is None else self.piece.rows[rows]

    def marked(self, decided_at_ms: int) -> "PieceDecisions":
        """Return it with the flag ``LATE_DECISION`` on decisions that were made too late."""
        limit = self.piece.routing.shared.late_decision_ms
        if not (decided_at_ms - self.piece.events.timestamp > limit).any():
            return self
        decided = []
        for part in self.made.decided:
            decisions = part.decisions
            late = decided_at_ms - decisions.events.timestamp > limit
            flags = decisions.flags | np.where(late, np.uint8(Flag.LATE_DECISION), np.uint8(0))
            decided.append(replace(part, decisions=replace(decisions, flags=flags)))
        return replace(self, made=replace(self.made, decided=tuple(decided)))


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch of records, and which of them were decoded.

    Attributes:
        raw: r records.
        rows: int64[n], the rows of the decoded events in ``raw``.
        undecodable: Records that could not be decoded. All others were skipped.
    """

    raw: RawRecords
    rows: Int64
    undecodable: Rejections

    @property
    def skipped(self) -> int:
        """How many records are not transactions (``[record] where`` of events.toml)."""
        return len(self.raw) - len(self.rows) - len(self.undecodable)


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rejected records of a batch.

    Attributes:
        rows: r row numbers in the batch, ascending.
        reasons: r reasons.
    """

    rows: tuple[int, ...] = ()
    reasons: tuple[RejectReason, ...] = ()


class Outcomes:
    """Encodes the results of batches.

    Args:
        codecs: Columns to bytes.
        topics: Names of the input and of the outputs.
        instance: Name of this process, for dead letters.
        draws: The keys of the draws that plans ask for.

    Attributes:
        draws: As given.
    """

    def __init__(
        self, codecs: Codecs, topics: Topics, instance: str, draws: Draws = NO_KEYS
    ) -> None:
        self.draws = draws
        self._codecs = codecs
        self._topics = topics
        self._instance = instance

    def decisions(
        self, batch: DecodedBatch, scored: Sequence[PieceDecisions], decided_at_ms: int
    ) -> list[Outgoing]:
        """Return the decisions in the order of their transactions."""
        values: list[BytesColumn] = []
        places: list[Int64] = []
        for each, part in _parts(scored):
            if len(part.decisions):
                values.append(self._codecs.decisions.encode(part.decisions, decided_at_ms))
                places.append(batch.rows[each.places(part.rows)])
        if not values:
            return []
        value, place, raw = values[0], places[0], batch.raw
        if len(values) > 1:
            # Several arms may decide for one customer (overrides, a failing arm): restore the
            # order.
            place = np.concatenate(places)
            order = np.argsort(place)
            value, place = BytesColumn.joined(values).take(order), place[order]
        keys = raw.keys if len(place) == len(raw) else raw.keys.take(place)
        return [Outgoing(self._topics.decisions, value, keys, _headers(raw.headers, place))]

    def shadow_scores(
        self, batch: DecodedBatch, scored: Sequence[PieceDecisions]
    ) -> list[Outgoing]:
        """Return the shadows' scores; they are never published as decisions."""
        found = []
        for each in scored:
            for one in each.made.shadowed:
                mine = each.made.accepted if one.rows is None else one.rows
                if not len(mine):
                    continue
                places = batch.rows[each.places(mine)]
                # Only of a device's row: who decided it, and as which of its rows.
                headers = None if one.rows is None else _headers(batch.raw.headers, places, _DEVICE)
                found.append(
                    Outgoing(
                        self._topics.shadow_scores, self._codecs.shadows.encode(one),
                        batch.raw.keys.take(places), headers,
                    )
                )  # fmt: skip
        return found

    def dead_letters(
        self, batch: DecodedBatch, scored: Sequence[PieceDecisions]
    ) -> tuple[list[Outgoing], RejectedRows]:
        """Return the dead letters in the order of their records, and the rejected rows."""
        rejected = _rejected(batch, scored)
        if not rejected:
            return [], RejectedRows()
        rows = tuple(row for row, _, _ in rejected)
        reasons = tuple(reason for _, reason, _ in rejected)
        letters = dead_letters(
            batch.raw, rows, list(reasons),
            [detail for _, _, detail in rejected], topic=self._topics.dead_letters,
            source_topic=self._topics.transactions, instance=self._instance,
        )  # fmt: skip
        return [letters], RejectedRows(rows, reasons)

    def summary(
        self, batch: DecodedBatch, scored: Sequence[PieceDecisions], rejected: RejectedRows,
        seconds: Mapping[str, float],
    ) -> Outgoing:  # fmt: skip
        """Return the summaries of a batch.

        Timings are headers, so that the payload is a pure function of the batch. The last record of
        each arm has the seconds of its model call; the last record of all has those of every stage.
        """
        parts = list(_parts(scored))
        read = InputRecords(
            batch.raw.partition, batch.raw.offset, batch.raw.timestamp,
            np.array(rejected.rows, np.int64), rejected.reasons, _late_rows(batch, parts),
            batch.skipped,
        )  # fmt: skip
        decided = [_summary_input(each.piece.routing.shared, part) for each, part in parts]
        told = summarize(read, decided)
        encoded: list[bytes] = []
        headers: list[Headers] = []
        for records, (_, part) in zip(told, parts, strict=True):
            encoded += [self._codecs.summaries.encode(record) for record in records]
            asked = {"score": seconds[part.stage]} if part.stage in seconds else {}
            headers += [*[None] * (len(records) - 1), _timed(asked) or None]
        headers[-1] = _timed({**seconds, **asked})
        return Outgoing(
            self._topics.summaries, BytesColumn.of(encoded), BytesColumn.nulls(len(encoded)),
            headers,
        )  # fmt: skip


def _summary_input(shared: Plan, part: ArmDecisions) -> SummaryInput:
    return SummaryInput(part.decisions, shared.summary_window_ms, part.bins, segments_of(shared))


def _late_rows(batch: DecodedBatch, parts: Sequence[tuple[PieceDecisions, ArmDecisions]]) -> Int64:
    """Return int64[l], the rows of the records whose decisions have the flag ``late``."""
    found = [np.empty(0, np.int64)]
    for each, part in parts:
        late = (part.decisions.flags & np.uint8(Flag.LATE)) > 0
        if late.any():
            found.append(batch.rows[each.places(part.rows[late])])
    return np.concatenate(found)


def _timed(seconds: Mapping[str, float]) -> list[tuple[str, bytes | None]]:
    return [(f"seconds.{stage}", f"{each:.6f}".encode()) for stage, each in seconds.items()]


def _parts(scored: Sequence[PieceDecisions]) -> Iterator[tuple[PieceDecisions, ArmDecisions]]:
    for each in scored:
        for part in each.made.decided:
            yield each, part


def _rejected(
    batch: DecodedBatch, scored: Sequence[PieceDecisions]
) -> list[tuple[int, RejectReason, str]]:
    """Return undecodable and invalid records in the order of the batch."""
    undecodable = batch.undecodable
    merged = list(
        zip(undecodable.rows.tolist(), undecodable.reasons, undecodable.details, strict=True)
    )
    for each in scored:
        invalid = each.made.rejections
        places = batch.rows[each.places(invalid.rows)].tolist()
        merged += zip(places, invalid.reasons, invalid.details, strict=True)
    return sorted(merged, key=lambda rejection: rejection[0])


def _headers(
    headers: Sequence[Headers] | None, rows: Int64, copied: frozenset[str] = _COPIED
) -> list[Headers] | None:
    """Return the copied headers of each row; None if no transaction of the batch has any."""
    if headers is None:
        return None
    kept = [_kept(headers[row], copied) for row in rows.tolist()]
    return [one or None for one in kept] if any(kept) else None


def _kept(headers: Headers, copied: frozenset[str]) -> list[tuple[str, bytes | None]]:
    """Return a record's copied headers, without those that exceed what is left of the limit.

    No other header can displace those of a device.
    """
    kept: list[tuple[str, bytes | None]] = []
    left = TRACE_BYTES_MAX
    for name, value in headers or ():
        if name.lower() not in copied:
            continue
        size = len(name) + len(value or b"")
        if size <= left:
            kept.append((name, value))
            left -= size
        elif name in _DEVICE:
            kept.append((name, value))
    return kept
