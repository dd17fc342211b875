"""The decoders of the mappings in use: one for each mapping, because a rollout may change it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as Directory
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.mapped import (
    EventDecoder,
    JsonDecoder,
    MappedDecoder,
    PayloadDecoder,
    open_decoder,
)
from stream_scorer.core.events.batch import EventBatch, Rejections
from stream_scorer.core.events.extras import COLUMN_TYPES
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import BytesColumn, Int64, RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.settings import SCHEMAS_DIRECTORY

_KEPT: Final = 8
"""Maximum number of plans whose decoders are kept."""
_FIELDS_KEPT: Final = 64
"""Maximum number of extra fields whose own decoders are kept."""


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
        self._fields: list[tuple[tuple[str, str], PayloadDecoder]] = []

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

    def decode(
        self, raw: RawRecords, plan: Plan, read_by: Mapping[str, Plan]
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records without a time budget, as :meth:`EventDecoder.decode` does.

        Args:
            raw: The records.
            plan: The plan whose mapping reads them.
            read_by: As for :meth:`with_fields`.
        """
        events, rows, undecodable = self.of(plan).decode(raw)
        return self.with_fields(raw, events, rows, plan, read_by), rows, undecodable

    def with_fields(
        self,
        raw: RawRecords,
        events: EventBatch,
        rows: Int64,
        plan: Plan,
        read_by: Mapping[str, Plan],
    ) -> EventBatch:
        """Return events with columns for the fields that rings keep and their plan does not define.

        So rings keep a field as each plan defines it, whichever plan decides. Such a field is read
        by its own rule alone: the definition and the record determine the value, not the rest of
        the plan that defines it, and no time budget. It is null if the rule cannot read the record,
        or is for another format of records.

        Args:
            raw: The records.
            events: n transactions, decoded from some of them.
            rows: int64[n], the rows of their records, ascending.
            plan: The plan whose mapping read them.
            read_by: Extra fields that rings keep, each with a plan that defines it.
        """
        if not read_by or all(self._alike(other, plan) for other in read_by.values()):
            return events
        own = {each.stored for each in fields_of(plan).values()}
        records = events.records
        for stored, other in read_by.items():
            if stored not in own:
                values = self._values(raw.values.take(rows), stored, other, plan)
                records = records.append_column(stored, values)
        return replace(events, records=records)

    def _alike(self, one: Plan, other: Plan) -> bool:
        """Return whether two plans share a decoder; mappings are compared the first time only."""
        return one is other or self.of(one) is self.of(other)

    def _values(self, records: BytesColumn, stored: str, other: Plan, plan: Plan) -> pa.Array:
        """Return the values of another plan's extra field in n decoded records."""
        format_ = _format(plan)
        if _format(other) != format_:
            return pa.nulls(len(records), COLUMN_TYPES[stored.split(":")[1]])
        key = stored, format_
        found = next((each for each in self._fields if each[0] == key), None)
        if found is None:
            found = key, _rule_decoder(self._source, other, stored, format_, self._directory)
        self._fields = [found, *(each for each in self._fields if each is not found)][:_FIELDS_KEPT]
        decoded = found[1].decode(records)
        at = _rows_in(decoded.rows, np.arange(len(records)))
        return decoded.records.column(0).take(at)


def _format(plan: Plan) -> str:
    return str(plan.events.get("record", {}).get("format", "avro"))


def _rule_decoder(
    source: SchemaSource, plan: Plan, stored: str, format_: str, directory: Directory
) -> PayloadDecoder:
    """Return the decoder of one extra field of a plan with a mapping."""
    mapping = plan.mapping
    assert mapping is not None  # noqa: S101 only a mapping defines extra fields
    name = stored.partition(":")[0]
    rules = tuple(rule for rule in mapping.extras if rule.column == name)
    alone = replace(mapping, fields=(), extras=rules, where=(), rates={}, labels=None)
    if format_ == "json":
        return JsonDecoder(alone, plan)
    return MappedDecoder(alone, source, plan, directory)


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
