"""``export --terminal-rows``: the history of terminals, read once to the topic's present end."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.terminals.history import Delayed
from stream_scorer.edge.files.seed import TerminalRows
from stream_scorer.errors import EdgeError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.settings import Settings

_SCHEMA: Final = "terminal-profile.v2"
_RECORDS: Final = 20_000
_STEP_SECONDS: Final = 0.1
_NEVER: Final = int(NEVER)


@dataclass(slots=True)
class _Rows:
    """The rows that were read, in pieces, and the watermark of each partition of the topic."""

    marks: dict[int, int]
    terminal: list[NDArray[np.uint64]] = field(default_factory=list)
    time: list[NDArray[np.int64]] = field(default_factory=list)
    state: list[NDArray[np.uint8]] = field(default_factory=list)


def export_terminals(
    settings: Settings, registry: SchemaSource, plan: Plan, delayed: Delayed
) -> TerminalRows:
    """Read the rows that an event after the topic's watermark can see.

    Args:
        settings: The cluster and the topic.
        registry: Has the rows' schemas.
        plan: Limits of the decoder.
        delayed: The windows of the features.

    Raises:
        EdgeError: The topic has no watermark yet.
        SettingsError: The topic does not exist.
        UnavailableError: The broker or the registry does not answer.
    """
    schema = reader_schema(_SCHEMA, settings.registry.directory)
    decoder = ColumnDecoder(registry, schema, plan)
    name = settings.kafka.topics.terminal_profiles
    topic = TopicFollower(settings.kafka, name, "export-terminals")
    try:
        found = _Rows(dict.fromkeys(topic.partitions, _NEVER))
        topic.mark_end(stable=False)
        while topic.left:
            polled = topic.poll_to_end(_RECORDS, _STEP_SECONDS)
            if polled is not None:
                _add(found, decoder, polled)
    finally:
        topic.close()
    watermark = min(found.marks.values(), default=_NEVER)
    if watermark == _NEVER:
        raise EdgeError(
            f"topic {name}: has no watermark", "let `stream-scorer profile` run until it writes one"
        )
    terminal, time, state = (
        np.concatenate([np.empty(0, kind), *pieces])
        for kind, pieces in (
            (np.uint64, found.terminal), (np.int64, found.time), (np.uint8, found.state),
        )
    )  # fmt: skip
    edge = watermark - delayed.memory_ms
    kept = np.flatnonzero((time > edge) & (time <= watermark))
    return TerminalRows(watermark, edge, terminal[kept], time[kept], state[kept])


def _add(found: _Rows, decoder: ColumnDecoder, polled: RawRecords) -> None:
    decoded = read_patiently(lambda: decoder.decode(polled.values))
    records, rows = decoded.records, decoded.rows
    terminal = records.column("terminal_id")
    when = np.asarray(records.column("event_time").view("int64"))
    is_row = np.asarray(terminal.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    own, marks = np.flatnonzero(is_row), np.flatnonzero(~is_row)
    if len(own):
        found.terminal.append(hashes_of(terminal.take(own)))
        found.time.append(when[own])
        found.state.append(states_of(records, "fraud")[own])
    for partition, mark in zip(
        polled.partition[rows[marks]].tolist(), when[marks].tolist(), strict=True
    ):
        found.marks[partition] = max(found.marks.get(partition, _NEVER), mark)
