"""Terminal profile rows as past decisions saw them: up to the watermark that each has recorded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.terminals.history import Delayed
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.history_coverage import NOT_YET
from stream_scorer.terminals.follower import TerminalReading

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class SeenTerminals:
    """What events could see of terminals.

    Attributes:
        lacking: bool[n], for which of them rows had not arrived yet.
        watermark: int64[n], the newest time of rows that each could see, ms; NEVER for none.
    """

    lacking: Bool
    watermark: Int64


class RecordedTerminals:
    """The complete topic of terminal profile rows.

    Args:
        settings: The cluster and the topic.
        registry: Has the rows' schemas.
        plan: Limits of the decoder.
        delayed: The operations over terminals.
        oldest_ms: Rows up to this event time are ignored.

    Attributes:
        covered_from: Event time from which decisions could see no deleted row, ms; NEVER if none
            was deleted.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: No offset could be read for 30 s.
    """

    def __init__(
        self,
        settings: Settings,
        registry: SchemaSource,
        plan: Plan,
        delayed: Delayed,
        oldest_ms: int,
    ) -> None:
        schema = reader_schema("terminal-profile.v2", settings.registry.directory)
        name = settings.kafka.topics.terminal_profiles
        topic = TopicFollower(settings.kafka, name, "reproduce-terminals")
        reading = TerminalReading(topic, ColumnDecoder(registry, schema, plan))
        reading.table.evict(oldest_ms)
        try:
            _read_all(topic, reading)
        finally:
            topic.close()
        self._delayed = delayed
        self._table = reading.table
        self.covered_from = int(NEVER)
        for partition, low in topic.first.items():
            if low:
                # Rows up to the first retained watermark may have been deleted, later ones not.
                whole_from = reading.first_marks.get(partition, NOT_YET)
                self.covered_from = max(self.covered_from, whole_from + delayed.longest_ms)

    def observe(self, events: EventBatch, recorded: Int64, observed: Float64) -> SeenTerminals:
        """Compute what events saw of their terminals.

        Args:
            events: n transactions.
            recorded: int64[n], the recorded watermark of each decision, ms; NEVER if it has none.
            observed: float64[n, k]; the operations' columns are written.
        """
        times = events.int64("event_time")
        terminals = events.records.column("terminal_id")
        up_to = times - self._delayed.delay_ms
        limit = np.minimum(recorded, self._table.watermark)
        lacking = up_to > limit
        self._table.observe(self._delayed, terminals, times, observed)
        for watermark in np.unique(limit[lacking]).tolist():
            rows = np.flatnonzero(lacking & (limit == watermark))
            some = np.ascontiguousarray(observed[rows])
            table = self._table.as_of(watermark)
            table.observe(self._delayed, terminals.take(rows), times[rows], some)
            observed[rows] = some
        return SeenTerminals(lacking, np.minimum(up_to, limit))


def _read_all(topic: TopicFollower, reading: TerminalReading) -> None:
    topic.mark_end(stable=False)
    while topic.left:
        read_patiently(lambda: reading.step_to_end(_POLL_SECONDS))
