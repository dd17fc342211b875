"""The decoders of the mappings in use: one for each mapping, because a rollout may change it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as Directory
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.reading.mapped import EventDecoder, PayloadDecoder, open_decoder
from stream_scorer.codec.records.foreign_field import open_field_decoder
from stream_scorer.core.events.batch import EventBatch, Rejections
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.settings import SCHEMAS_DIRECTORY

_NONE: Final[Mapping[str, Plan]] = {}
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
        self._fields: dict[EventDecoder, dict[str, PayloadDecoder]] = {}

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

    def apart(self) -> "EventDecoders":
        """Return one without a decoder, which another thread may use at the same time."""
        return EventDecoders(self._source, self._directory)

    def add(self, plan: Plan, decoder: EventDecoder) -> None:
        """Use a decoder for a plan, and for those that read alike: one that has compiled already.

        Args:
            plan: The plan.
            decoder: Opened for it; nothing else uses it any more.
        """
        self._open = [(plan, decoder), *self._open][:_KEPT]

    def decode(
        self, raw: RawRecords, plan: Plan, read_by: Mapping[str, Plan]
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records without a time budget, as :meth:`EventDecoder.decode` does.

        Args:
            raw: The records.
            plan: The plan whose mapping reads them.
            read_by: As for :meth:`foreign`.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        foreign = self.foreign(plan, read_by)
        events, rows, undecodable = self.of(plan).decode(raw)
        return self.with_fields(raw, events, rows, plan, foreign), rows, undecodable

    def foreign(self, plan: Plan, read_by: Mapping[str, Plan]) -> Mapping[str, Plan]:
        """Return the extra fields that rings keep and a plan does not define.

        From then on, the budget for new schemas of the plan's decoder counts that each schema is
        prepared once more for each of them.

        Args:
            plan: The plan.
            read_by: Extra fields that rings keep, each with a plan that defines it.
        """
        if not read_by or all(self._alike(other, plan) for other in read_by.values()):
            return _NONE
        own = {each.stored for each in fields_of(plan).values()}
        found = {stored: other for stored, other in read_by.items() if stored not in own}
        columns = self.of(plan).columns
        if isinstance(columns, ColumnDecoder):
            columns.budget.repeats = len(found)
        return found

    def with_fields(
        self,
        raw: RawRecords,
        events: EventBatch,
        rows: Int64,
        plan: Plan,
        foreign: Mapping[str, Plan],
        *,
        budgeted: bool = False,
    ) -> EventBatch:
        """Return events with columns for the fields that rings keep and their plan does not define.

        So rings keep a field as each plan defines it, whichever plan decides. Such a field is read
        by its own rule alone, in the format and within the limits of the plan that decides. So the
        definition, the record and the deciding plan determine the value, and no time budget or
        state of the registry. It is null if the rule cannot read the record.

        Args:
            raw: The records.
            events: n transactions, decoded from some of them.
            rows: int64[n], the rows of their records, ascending.
            plan: The plan whose mapping read them.
            foreign: The fields, as :meth:`foreign` returns them.
            budgeted: Whether the time for new schemas is subtracted from the budget of the plan's
                decoder until that is negative. Values do not depend on it.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now, although the plan's
                decoder had it.
        """
        if not foreign:
            return events
        records, values = events.records, raw.values.take(rows)
        decoders = self._field_decoders(plan, foreign)
        for stored, decoder in decoders.items():
            decoded = decoder.decode(values, budgeted=budgeted)
            at = _rows_in(decoded.rows, np.arange(len(rows)))
            records = records.append_column(stored, decoded.records.column(0).take(at))
        return replace(events, records=records)

    def _alike(self, one: Plan, other: Plan) -> bool:
        """Return whether two plans share a decoder; mappings are compared the first time only."""
        return one is other or self.of(one) is self.of(other)

    def _field_decoders(self, plan: Plan, foreign: Mapping[str, Plan]) -> dict[str, PayloadDecoder]:
        """Return the decoder of each field, in the given order; others are forgotten."""
        main = self.of(plan)
        known = self._fields.get(main, {})
        found = {
            stored: known.get(stored)
            or open_field_decoder(main, self._source, stored, other, self._directory)
            for stored, other in foreign.items()
        }
        in_use = {decoder for _, decoder in self._open}
        kept = {each: fields for each, fields in self._fields.items() if each in in_use}
        self._fields = {**kept, main: found}
        return found


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
