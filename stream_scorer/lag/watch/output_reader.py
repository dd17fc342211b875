"""Reads what scorers publish: which input record each decision and dead letter belongs to."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream_scorer.closing import Closing
from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.codec.records.record import RecordDecoder
from stream_scorer.core.summaries.summary_reading import milliseconds_of
from stream_scorer.dead_letters.format import parse
from stream_scorer.errors import SettingsError, StreamScorerError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.lag.accounts.balance import CommittedRanges
from stream_scorer.lag.accounts.ledger import Int64, OutputKind, Run
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.lag.broker.looks import PartitionLook, Place
from stream_scorer.lag.broker.partition_offsets import PartitionOffsets
from stream_scorer.lag.watch.reconciliation import OutputPiece
from stream_scorer.registry.sources import narrowed, open_registry, reader_schema
from stream_scorer.settings import Settings

_PLACE: Final = frozenset({"source_topic", "source_partition", "source_offset"})
_COUNTS: Final = frozenset({"skipped", "sources"})
_RECORDS_AT_ONCE: Final = 10_000
_POLL_SECONDS: Final = 0.1
_INPUT_SECONDS: Final = 60.0
"""How long reading the input may stand still."""
_FAR: Final = 20_000
"""Offsets between two runs from which on the reader jumps instead of reading what is between."""
_ENDING: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 the binding's own name
    }
)
"""Errors after which a comparison begins anew: a topic is gone or made again, or records are."""


class OutputReader(Closing):
    """Reads decisions, dead letters and summaries as they are published, and input where needed.

    Args:
        settings: The cluster, its topics, the registry and the group.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = kafka = settings.kafka
        self.group = settings.lag.slo_group or kafka.group
        self.topic = kafka.topics.transactions
        self._outputs = (kafka.topics.decisions, kafka.topics.dead_letters, kafka.topics.summaries)
        seconds = settings.lag.request_seconds
        self._offsets = PartitionOffsets(kafka, seconds)
        self._groups = GroupOffsets(kafka, [self.group], seconds)
        # Everything is read once, in order; a long queue would only hold memory.
        options = client_options.reader(kafka, f"{kafka.group}-reconciliation")
        # Outputs that are read again would count twice, and those that are gone as missing; input
        # that is gone would count as a gap.
        options |= {"queued.max.messages.kbytes": 16_384, "auto.offset.reset": "error"}
        self._consumer: Any = Consumer(options)
        self._input: Any = Consumer(options)
        source, directory = open_registry(settings.registry), settings.registry.directory
        decision = narrowed(reader_schema("decision.v1", directory), _PLACE.__contains__)
        summary = narrowed(reader_schema("summary.v4", directory), _COUNTS.__contains__)
        self._decisions = ColumnDecoder(source, decision, UNLIMITED)
        self._summaries = RecordDecoder(source, summary)
        self._positions: dict[Place, int] = {}
        self._messages: list[Any] = []
        self._marks: dict[Place, int] = {}
        self._leaders: dict[Place, int] = {}
        self._input_ends: dict[Place, int] = {}

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._input.close()
        self._offsets.close()
        self._groups.close()

    def begin(self) -> Mapping[int, int]:
        """Read the outputs from their present ends on; return the input's ends, which come later.

        Raises:
            SettingsError: A topic does not exist.
            UnavailableError: The brokers do not answer.
        """
        self._leaders = self._offsets.leaders()
        known = {topic for topic, _ in self._leaders}
        for topic in (self.topic, *self._outputs):
            if topic not in known:
                raise SettingsError(
                    f"topic {topic}: does not exist on {self._kafka.bootstrap}",
                    "create it (stream-scorer topics create), or set lag.reconcile_seconds to 0",
                )
        self._positions = self._ends(self._outputs)
        self._messages = []
        self._consumer.assign([TopicPartition(*at, end) for at, end in self._positions.items()])
        self._input_ends = self._ends((self.topic,))
        return {partition: end for (_, partition), end in self._input_ends.items()}

    def _looks(self, topics: Sequence[str]) -> dict[Place, PartitionLook]:
        asked = {at: leader for at, leader in self._leaders.items() if at[0] in topics}
        return self._offsets.ends(asked, self._offsets.starts(asked))

    def _ends(self, topics: Sequence[str]) -> dict[Place, int]:
        found = self._looks(topics)
        missing = [each.error for each in found.values() if each.error or each.high is None]
        if missing:
            raise unreachable(self._kafka, missing[0] or "an offset is missing")
        return {at: each.high or 0 for at, each in found.items()}

    def committed(self) -> Mapping[int, int]:
        """Return the group's committed offsets, each at most the input's end.

        Raises:
            StreamScorerError: The input was made again: :meth:`begin` anew.
            UnavailableError: The brokers do not answer.
        """
        self._leaders = self._offsets.leaders()
        self._check_input()
        places = [at for at in self._leaders if at[0] == self.topic]
        found = self._groups.committed(self.group, places)
        if isinstance(found, str):
            raise UnavailableError(f"group {self.group}: {found}", "check the brokers")
        # An offset past the end was committed in an input that had the topic's name before.
        return {at[1]: min(offset, self._input_ends[at]) for at, offset in found.items()}

    def _check_input(self) -> None:
        """Offsets of another input would be taken for those that were compared before."""
        for at, look in self._looks((self.topic,)).items():
            before, now = self._input_ends.get(at, 0), look.high
            if now is not None and now < before:
                raise StreamScorerError(
                    f"topic {at[0]}: partition {at[1]} ended at {before}, and now at {now}",
                    "nothing, if the topic was made again; otherwise its records were lost",
                )
            self._input_ends[at] = before if now is None else now

    def mark(self) -> None:
        """Remember the outputs' present ends; new partitions of theirs are read, too."""
        self._marks = self._ends(self._outputs)
        added = sorted(self._marks.keys() - self._positions.keys())
        if added:
            self._positions |= dict.fromkeys(added, 0)
            self._consumer.incremental_assign([TopicPartition(*at, 0) for at in added])

    def reached(self) -> bool:
        """Return whether everything before the marks was read."""
        return all(self._positions[at] >= end for at, end in self._marks.items())

    # -- outputs --------------------------------------------------------------------------------

    def read(self, seconds: float) -> OutputPiece:
        """Return the outputs that have arrived; wait up to ``seconds`` if there are none.

        Raises:
            StreamScorerError: A topic may not be read or was made again, or outputs were deleted
                before they were read: :meth:`begin` anew.
            UnavailableError: The registry does not answer. The next call returns these outputs.
        """
        if not self._messages:
            first = self._consumer.poll(seconds)
            if first is not None:
                self._messages = [first, *self._consumer.consume(_RECORDS_AT_ONCE, 0)]
        positions = dict(self._positions)
        values: dict[str, list[Any]] = defaultdict(list)
        for message in self._messages:
            at = (message.topic(), message.partition())
            if self._is_record(message, at, positions):
                values[at[0]].append(message)
        decisions, letters, summaries = (values[topic] for topic in self._outputs)
        offsets: dict[tuple[OutputKind, int], Int64] = {}
        unreadable = self._decided(decisions, offsets) + self._rejected(letters, offsets)
        commits, watermarks, unread = self._summarized(summaries)
        self._positions, self._messages = positions, []
        return OutputPiece(offsets, commits, watermarks, unreadable + unread)

    def _is_record(self, message: Any, at: Place, positions: dict[Place, int]) -> bool:
        error = message.error()
        if error is None:
            positions[at] = message.offset() + 1
            return True
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
            positions[at] = max(positions.get(at, 0), message.offset())
        elif error.fatal() or error.code() in _ENDING:
            raise StreamScorerError(
                f"topic {at[0]}: {error.str()}", "check the topic and the rights"
            )
        return False

    def _decided(
        self, messages: Sequence[Any], offsets: dict[tuple[OutputKind, int], Int64]
    ) -> int:
        if not messages:
            return 0
        columns = self._decisions.decode([message.value() for message in messages]).records
        readable = columns.num_rows
        columns = columns.filter(pc.equal(columns.column("source_topic"), self.topic))
        partitions = columns.column("source_partition").to_numpy(zero_copy_only=False)
        rows = columns.column("source_offset").to_numpy(zero_copy_only=False).astype(np.int64)
        for partition in np.unique(partitions).tolist():
            offsets[OutputKind.DECISION, int(partition)] = rows[partitions == partition]
        return len(messages) - readable

    def _rejected(
        self, messages: Sequence[Any], offsets: dict[tuple[OutputKind, int], Int64]
    ) -> int:
        found: dict[int, list[int]] = defaultdict(list)
        unreadable = 0
        for message in messages:
            try:
                letter = parse(message)
            except ValueError:
                unreadable += 1
                continue
            if letter.source_topic == self.topic:
                found[letter.source_partition].append(letter.source_offset)
        for partition, numbers in found.items():
            offsets[OutputKind.DEAD_LETTER, partition] = np.array(numbers, np.int64)
        return unreadable

    def _summarized(
        self, messages: Sequence[Any]
    ) -> tuple[list[CommittedRanges], dict[int, float], int]:
        commits: list[CommittedRanges] = []
        watermarks: dict[int, float] = {}
        unreadable = 0
        for message in messages:
            try:
                summary = self._summaries.decode(message.value())
            except UnavailableError:
                raise
            except StreamScorerError:
                unreadable += 1
                continue
            sources = summary["sources"]
            if not sources:
                continue  # not the last record of its transaction
            ranges = {each["partition"]: (each["first_offset"], each["next_offset"])
                      for each in sources}  # fmt: skip
            commits.append(CommittedRanges(ranges, summary["skipped"]))
            for each in sources:
                seen = milliseconds_of(each["watermark"]) / 1_000
                if seen > watermarks.get(each["partition"], 0.0):
                    watermarks[each["partition"]] = seen
        return commits, watermarks, unreadable

    # -- input ----------------------------------------------------------------------------------

    def records(self, runs: Mapping[int, Sequence[Run]]) -> Mapping[int, Int64]:
        """Return the offsets of runs at which there is a record, by partition.

        Args:
            runs: Ascending runs of offsets, by partition.

        Raises:
            StreamScorerError: The input may not be read, was made again, or was deleted before it
                was compared: :meth:`begin` anew.
            UnavailableError: The brokers do not answer.
        """
        return {
            partition: np.array(self._records_of(partition, each), np.int64)
            for partition, each in runs.items()
        }

    def _records_of(self, partition: int, runs: Sequence[Run]) -> list[int]:
        """Return the same of one partition; runs that are close are read in one go."""
        stretches: list[list[Run]] = []
        for run in runs:
            if stretches and run[0] - stretches[-1][-1][1] < _FAR:
                stretches[-1].append(run)
            else:
                stretches.append([run])
        found: list[int] = []
        for stretch in stretches:
            wanted = np.array(stretch, np.int64)

            def is_wanted(offset: int, wanted: Int64 = wanted) -> bool:
                row = int(np.searchsorted(wanted[:, 0], offset, "right")) - 1
                return row >= 0 and offset < int(wanted[row, 1])

            found += self._stretch(partition, stretch[0][0], stretch[-1][1], is_wanted)
        return found

    def _stretch(
        self, partition: int, first: int, after: int, is_wanted: Callable[[int], bool]
    ) -> list[int]:
        at: Place = (self.topic, partition)
        positions = {at: first}
        found: list[int] = []
        try:
            self._input.assign([TopicPartition(*at, first)])
            until = time.monotonic() + _INPUT_SECONDS
            while positions[at] < after:
                before = positions[at]
                for message in self._input.consume(_RECORDS_AT_ONCE, _POLL_SECONDS):
                    offset = message.offset()
                    if (
                        self._is_record(message, at, positions)
                        and offset < after
                        and is_wanted(offset)
                    ):
                        found.append(offset)
                if positions[at] > before:
                    until = time.monotonic() + _INPUT_SECONDS
                elif time.monotonic() > until:
                    raise unreachable(self._kafka, f"{at[0]} {partition}: nothing can be read")
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0].str()) from error
        finally:
            self._input.unassign()
        return found
