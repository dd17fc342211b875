"""The decoders of the mappings in use: one for each mapping, because a rollout may change it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as Directory
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.mapped import EventDecoder, open_decoder
from stream_scorer.core.events.batch import EventBatch, Rejections
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.settings import SCHEMAS_DIRECTORY

_KEPT: Final = 8
"""Maximum number of plans whose decoders are kept."""


class EventDecoders:
    """Decodes records by the mapping of a plan.

    Args:
        source: Returns writer schemas by id.
        directory: The folder of this project's schemas.
    """

    def __init__(self, source: SchemaSource, directory: Directory = SCHEMAS_DIRECTORY) -> None:
        self._source = source
        self._directory = directory
        self._open: list[tuple[Plan, EventDecoder]] = []

    def of(self, plan: Plan) -> EventDecoder:
        """Return the decoder of a plan's mapping; plans that read alike share one."""
        found = next((each for each in self._open if each[0] is plan), None)
        if found is None:
            # Comparing two mappings with many rates takes long.
            alike = (decoder for known, decoder in self._open if known.reads_as(plan))
            decoder = next(alike, None) or open_decoder(self._source, plan, self._directory)
            found = plan, decoder
        self._open = [found, *(each for each in self._open if each is not found)][:_KEPT]
        return found[1]

    def alike(self, one: Plan, other: Plan) -> bool:
        """Return whether two plans share a decoder; mappings are compared the first time only."""
        return one is other or self.of(one) is self.of(other)

    def decode(
        self, raw: RawRecords, plan: Plan, read_by: Mapping[str, Plan]
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records without a time budget, as :meth:`EventDecoder.decode` does.

        Args:
            raw: The records.
            plan: The plan whose mapping reads them.
            read_by: As for :func:`with_fields`.
        """
        events, rows, undecodable = self.of(plan).decode(raw)

        def read(other: Plan) -> tuple[EventBatch, Int64]:
            return self.of(other).decode(raw)[:2]

        return with_fields(events, rows, plan, read_by, read, self.alike), rows, undecodable


def with_fields(
    events: EventBatch,
    rows: Int64,
    plan: Plan,
    read_by: Mapping[str, Plan],
    read: Callable[[Plan], tuple[EventBatch, Int64]],
    alike: Callable[[Plan, Plan], bool],
) -> EventBatch:
    """Return events with a column for each field that rings keep and their mapping does not define.

    So rings keep a field as each plan defines it, whichever plan decides. The value is null if the
    plan that defines the field cannot read the record.

    Args:
        events: n transactions.
        rows: int64[n], the rows of their records, ascending.
        plan: The plan whose mapping read them.
        read_by: Extra fields that rings keep, each with a plan that defines it.
        read: Returns the events that another plan reads from the same records, and their rows,
            ascending.
        alike: Whether two plans read records alike; asked for each batch.
    """
    if not read_by or all(alike(other, plan) for other in read_by.values()):
        return events
    own = {each.stored for each in fields_of(plan).values()}
    foreign = {stored: other for stored, other in read_by.items() if stored not in own}
    records = events.records
    known: list[tuple[Plan, pa.RecordBatch, pa.Array]] = []
    for stored, other in foreign.items():
        place = next((at for at, each in enumerate(known) if alike(each[0], other)), len(known))
        if place == len(known):
            found, places = read(other)
            known.append((other, found.records, _rows_in(places, rows)))
        _, theirs, taken = known[place]
        records = records.append_column(stored, theirs.column(stored.partition(":")[0]).take(taken))
    return replace(events, records=records)


def _rows_in(places: Int64, rows: Int64) -> pa.Array:
    """Return int64[n]: the place of each of n rows in ``places``; null if it is not there."""
    at = np.searchsorted(places, rows)
    there = np.zeros(len(rows), np.bool_)
    inside = at < len(places)
    there[inside] = places[at[inside]] == rows[inside]
    return pa.array(at, mask=~there)


def by_mapping(
    raw: RawRecords, timeline: Sequence[tuple[int, Plan]]
) -> Iterator[tuple[Plan, RawRecords]]:
    """Yield the records of a partition in parts, each with a plan whose mapping reads it.

    Args:
        raw: Records of one partition.
        timeline: As for :func:`rows_by_mapping`.
    """
    for plan, rows in rows_by_mapping(raw.offset, timeline):
        yield plan, raw if len(rows) == len(raw) else raw.take(rows)


def rows_by_mapping(
    offset: Int64, timeline: Sequence[tuple[int, Plan]]
) -> list[tuple[Plan, Int64]]:
    """Return which records of a partition are read by which mapping.

    Args:
        offset: int64[n], of the records.
        timeline: (first offset, plan from there on), ascending; the first offset is not after any
            of the records.

    Returns:
        (plan, int64[k] indices of the records that its mapping reads), in the timeline's order.
        Consecutive plans that read alike are one part.
    """
    at = np.searchsorted([begin for begin, _ in timeline[1:]], offset, "right")
    parts: list[tuple[Plan, list[Int64]]] = []
    for number in np.unique(at).tolist():
        plan, rows = timeline[number][1], np.flatnonzero(at == number)
        if parts and parts[-1][0].reads_as(plan):
            parts[-1][1].append(rows)
        else:
            parts.append((plan, [rows]))
    return [(plan, np.concatenate(rows)) for plan, rows in parts]
