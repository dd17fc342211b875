"""The decoders of the mappings that are in use: one for each, since a rollout may change it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as Directory
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.mapped import EventDecoder, open_decoder
from stream_scorer.core.events.batch import EventBatch, Rejections
from stream_scorer.core.events.extras import COLUMN_TYPES
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.settings import SCHEMAS_DIRECTORY

_KEPT: Final = 8
"""Plans whose decoders are kept."""


class EventDecoders:
    """Decodes records by the mapping of a plan.

    Args:
        source: Gives writer schemas by id.
        directory: Holds our own schemas.
    """

    def __init__(self, source: SchemaSource, directory: Directory = SCHEMAS_DIRECTORY) -> None:
        self._source = source
        self._directory = directory
        self._open: list[tuple[Plan, EventDecoder]] = []

    def of(self, plan: Plan) -> EventDecoder:
        """Return the decoder of a plan's mapping; the same one where plans read alike."""
        found = next((each for each in self._open if each[0] is plan), None)
        if found is None:
            # Comparing two mappings takes long where they have many rates.
            alike = (decoder for known, decoder in self._open if known.reads_as(plan))
            decoder = next(alike, None) or open_decoder(self._source, plan, self._directory)
            found = plan, decoder
        self._open = [found, *(each for each in self._open if each is not found)][:_KEPT]
        return found[1]

    def reading(self, plan: Plan, engine: Plan) -> EventDecoder:
        """Return the decoder of a plan's mapping, whose events fit the features.

        Args:
            plan: Whose mapping reads.
            engine: The plan that features are compiled for. Its extra fields are columns of the
                events; null where ``plan`` does not define them, or in another way.
        """
        return _Completing(self.of(plan), plan, engine)

    def decode(
        self, raw: RawRecords, plan: Plan, engine: Plan
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records at any cost, as :meth:`EventDecoder.decode` does; see ``reading``."""
        return self.reading(plan, engine).decode(raw)


@dataclass(frozen=True, slots=True)
class _Completing:
    """A decoder whose events have the extra fields of another plan."""

    decoder: EventDecoder
    plan: Plan
    engine: Plan

    def decode(
        self, raw: RawRecords, *, budgeted: bool = False
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records, as :meth:`EventDecoder.decode` does."""
        events, rows, undecodable = self.decoder.decode(raw, budgeted=budgeted)
        return _completed(events, self.plan, self.engine), rows, undecodable


def by_mapping(
    raw: RawRecords, timeline: Sequence[tuple[int, Plan]]
) -> Iterator[tuple[Plan, RawRecords]]:
    """Yield the records of a partition in order, in parts that one mapping reads.

    Args:
        raw: Of one partition.
        timeline: As in :func:`rows_by_mapping`.
    """
    for plan, rows in rows_by_mapping(raw.offset, timeline):
        yield plan, raw if len(rows) == len(raw) else raw.take(rows)


def rows_by_mapping(
    offset: Int64, timeline: Sequence[tuple[int, Plan]]
) -> list[tuple[Plan, Int64]]:
    """Return which records of a partition one mapping reads.

    Args:
        offset: int64[n], of the records.
        timeline: (first offset, plan from there on), ascending; the first is not after the records.

    Returns:
        (a plan that reads some, int64[k], their places), in the order of the timeline.
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


def _completed(events: EventBatch, plan: Plan, engine: Plan) -> EventBatch:
    if not engine.extras or (engine.extras == plan.extras and engine.events == plan.events):
        return events
    has, wants = fields_of(plan), fields_of(engine)
    records = events.records
    for name, kind in engine.extras.items():
        if name in has and has[name] == wants[name]:
            continue
        empty = pa.nulls(len(events), COLUMN_TYPES[kind])
        known = records.schema.get_field_index(name)
        if known >= 0:
            records = records.set_column(known, name, empty)
        else:
            records = records.append_column(name, empty)
    return EventBatch(records, events.partition, events.offset, events.timestamp)
