"""``dlq replay``: copies dead letters back to their input topic, each of them once.

::

    progress ─→ dead letters of [progress, end) ─→ chosen ones, with `replayed-from` ─┐
       ▲                                                                            │ one Kafka
       └──────────────── the group's offsets, notes next to them ───────────────────┘ transaction

The group has no members. All calls for one dead-letter topic share a transactional id: a later call
fences an earlier one, whose open transaction is ended before the progress is read. So what a killed
call had copied in an open transaction is aborted, and what it had committed is not copied again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_scorer.dead_letters.copy import CopyingStopped, LetterCopier, progress_of
from stream_scorer.dead_letters.format import DeadLetter, parse
from stream_scorer.dead_letters.progress import OTHERS, LetterProgress, Selection, lane_of
from stream_scorer.dead_letters.sources import LetterSources
from stream_scorer.errors import FencedError, OffsetsError, UnavailableError
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.membership.transactional_id import command, fence_former
from stream_scorer.kafka.reading.read_to_end import read
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import largest_record
from stream_scorer.kafka.topics.offsets import admin, bounds, partitions
from stream_scorer.settings import Kafka, Settings

_BYTES = 16_000_000


@dataclass(slots=True)
class Replayed:
    """The result of a call; with ``dry_run``, what it would do.

    Attributes:
        copied: Dead letters that were copied, by reason.
        passed_over: Those that the chosen reasons leave to a later call, by reason.
        replayed_before: Those whose original was itself a copy; they stay where they are.
        other_input: Those of another topic than ``kafka.topics.transactions``.
        foreign: Records of the topic that are not our dead letters.
        mismatched: Those whose source offset does not contain the same bytes, or whose partition
            does not exist; never copied.
        first_mismatched: The first of them, PARTITION:OFFSET; empty if there is none.
        refused: Those that cannot be copied: too large, or an omitted part is gone.
        limited: Whether it stopped because of the limit.
        stopped: Whether it stopped because it was asked to.
    """

    copied: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    replayed_before: int = 0
    other_input: int = 0
    foreign: int = 0
    mismatched: int = 0
    first_mismatched: str = ""
    refused: int = 0
    limited: bool = False
    stopped: bool = False


def replay(
    settings: Settings,
    chosen: Selection,
    limit: int | None = None,
    *,
    dry_run: bool = False,
    trust_headers: bool = False,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda _: None,
) -> Replayed:
    """Copy dead letters back to the input, up to the dead-letter topic's current end.

    Args:
        settings: The cluster, its topics, and ``replay.group``.
        chosen: The dead letters to copy.
        limit: Maximum number; None for all.
        dry_run: Whether to count only.
        trust_headers: Whether to copy without comparing with the record that the headers name.
        stop: True stops: the open transaction is aborted, and the report has what was copied
            before.
        tell: Called with a line for each dead letter that is refused.

    Raises:
        SettingsError: A topic does not exist.
        FencedError: A later call took over.
        OffsetsError: The group's offsets do not fit the dead-letter topic, or retention deleted the
            record that a dead letter names, or, with ``trust_headers``, its partition is gone from
            the input. Earlier copies stay.
        TransactionError: The broker refuses a record permanently.
        UnavailableError: The broker does not answer.
    """
    kafka, group = settings.kafka, settings.replay.group
    topics = (kafka.topics.dead_letters, kafka.topics.transactions)
    numbers = partitions(admin(kafka), kafka, topics)
    consumer = ColumnConsumer(client_options.reader(kafka, group), kafka.topics.dead_letters)
    copier: LetterCopier | None = None
    sources = LetterSources(kafka)
    report = Replayed()
    try:
        if not dry_run:
            copier = LetterCopier(kafka, group, consumer, stop=stop)
            fence_former(kafka, command(group, consumer.topic))
        # Only now: what an earlier call left open has come to its end.
        there = _GroupProgress(kafka, group, consumer, numbers[kafka.topics.dead_letters])
        count = len(numbers[kafka.topics.transactions])
        run = _Run(
            there, copier, sources, chosen, count, limit, report, tell, compares=not trust_headers
        )
        run.run(settings.scorer.maximum_batch, stop)
    except CopyingStopped:
        report.stopped = True
    except UnavailableError:
        if not stop():
            raise
        # It stopped while waiting for the broker.
        report.stopped = True
    except FencedError as error:
        raise FencedError(
            f"another `dlq replay` of group {group} has begun and continues from here",
            "wait for its end; nothing is copied twice",
        ) from error
    finally:
        if copier is not None:
            copier.close()
        sources.close()
        consumer.close()
    return report


class _GroupProgress:
    """The group's progress in the dead-letter topic.

    Args:
        kafka: The cluster.
        group: The group.
        consumer: Reads its offsets.
        numbers: The topic's partitions.

    Attributes:
        committed: By partition, if anything is committed.
        start: By partition, where this call begins to read.
        end: By partition, where it ends.
        progress: By partition.
    """

    def __init__(
        self, kafka: Kafka, group: str, consumer: ColumnConsumer, numbers: list[int]
    ) -> None:
        self.kafka = kafka
        self.topic = kafka.topics.dead_letters
        self.committed = progress_of(consumer, group, numbers)
        first, end = bounds(kafka, self.topic)
        for partition, found in self.committed.items():
            furthest = max(found.positions.values())
            if furthest > end[partition]:
                raise OffsetsError(
                    f"group {group} is at offset {furthest} of {self.topic} partition "
                    f"{partition}, which ends at {end[partition]}: the topic was created again",
                    "delete the group's offsets with Kafka's own tool, or set replay.group",
                )
        self.progress = {p: self.committed.get(p, LetterProgress.at(first[p])) for p in first}
        self.start = {p: max(self.progress[p].offset, first[p]) for p in first}
        self.end = end

    def largest_copy(self) -> str:
        """Return how many bytes the input accepts in one record; in words if it is unknown."""
        found = largest_record(self.kafka, self.kafka.topics.transactions)
        return "fewer" if found is None else str(found)

    def oldest_sources(self) -> Mapping[int, int]:
        """Return the input's oldest retained offset by partition."""
        first, _ = bounds(self.kafka, self.kafka.topics.transactions)
        return first


class _Run:
    """One call: reads to the end, chooses, and copies in batches.

    Args:
        there: The group's progress.
        copier: Copies; None counts only.
        sources: Compares with the input, and reads omitted parts.
        chosen: The dead letters to copy.
        count: Number of partitions of the input.
        limit: Maximum number of copies.
        report: The report.
        tell: Called with a line for each dead letter that is refused.
        compares: Whether each dead letter is compared; otherwise only those with omitted parts.
    """

    def __init__(
        self, there: _GroupProgress, copier: LetterCopier | None, sources: LetterSources,
        chosen: Selection, count: int, limit: int | None, report: Replayed,
        tell: Callable[[str], None], *, compares: bool,
    ) -> None:  # fmt: skip
        self.report = report
        self._there = there
        self._copier = copier
        self._sources = sources
        self._tell = tell
        self._compares = compares
        self._low = there.oldest_sources()
        self._chosen = chosen
        self._count = count
        self._left = limit
        self._committed = dict(there.committed)
        self._progress = dict(there.progress)
        self._behind: dict[int, int] = {}
        self._waiting: dict[int, dict[str, int]] = {partition: {} for partition in there.end}
        self._batch: list[DeadLetter] = []
        self._bytes = 0
        self._refusals: list[str] = []

    def run(self, maximum: int, stop: Callable[[], bool]) -> None:
        """Read to the end, or to the limit; at most ``maximum`` records in one transaction.

        Raises:
            CopyingStopped: It was asked to stop.
        """
        there = self._there
        for message in read(there.kafka, there.topic, there.start, there.end, stop):
            if stop():
                raise CopyingStopped
            self._look(message)
            if self._left == 0:
                self.report.limited = True
                break
            if len(self._batch) >= maximum or self._bytes >= _BYTES:
                self._flush()
        else:
            if stop():
                raise CopyingStopped
            self._behind |= there.end
        self._flush()

    def _look(self, message: Any) -> None:
        """Decide about one record of the dead-letter topic."""
        partition, offset = message.partition(), message.offset()
        progress = self._progress[partition]
        try:
            letter = parse(message)
        except ValueError:
            self.report.foreign += offset >= progress.of(OTHERS)
            self._behind[partition] = offset + 1
            return
        lane = lane_of(letter.reason)
        takes = self._chosen.takes(lane)
        if offset < progress.of(lane):
            pass  # handled by an earlier call
        elif letter.source_topic != self._there.kafka.topics.transactions:
            self.report.other_input += 1
        elif letter.replayed:
            self.report.replayed_before += 1
        elif not takes:
            self.report.passed_over[letter.reason] += 1
            self._waiting[partition].setdefault(lane, offset)
        else:
            self._take(letter)
        self._behind[partition] = offset + 1

    def _take(self, letter: DeadLetter) -> None:
        if not 0 <= letter.source_partition < self._count:
            if self._compares:
                self._mismatch([letter])
                return
            self._flush()
            topic = self._there.topic
            raise OffsetsError(
                f"dead letter {topic}:{letter.partition}:{letter.offset} came from "
                f"{letter.source_topic} partition {letter.source_partition}, and that topic has "
                f"{self._count} partitions now",
                "those before it are copied; give the topic as many partitions again, or skip "
                "its reason: --reason with others",
            )
        low = self._low.get(letter.source_partition, 0)
        gone = letter.source_offset < low
        if why := _why_not(letter, self._there.topic, gone=gone):
            self._refuse(letter, why)
            return
        if gone and self._compares:
            self._flush()
            raise OffsetsError(
                f"dead letter {self._there.topic}:{letter.partition}:{letter.offset} cannot be "
                f"compared with {letter.source}: retention took that record, the oldest is {low}",
                "those before it are copied; to copy it by its headers alone: --trust-headers; or "
                "skip its reason: --reason with others",
            )
        self._batch.append(letter)
        self._bytes += letter.size
        if self._left is not None:
            self._left -= 1

    def _refuse(self, letter: DeadLetter, why: str) -> None:
        """Refuse a dead letter permanently; reported when the progress has passed it."""
        place = f"{self._there.topic}:{letter.partition}:{letter.offset}"
        self._refusals.append(f"not copied: dead letter {place} of {letter.source}: {why}")

    def _flush(self) -> None:
        """Copy the dead letters chosen since the last call, and move the progress."""
        after = {
            partition: self._progress[partition].advanced(
                behind, self._chosen, self._waiting[partition]
            )
            for partition, behind in self._behind.items()
        }
        after = {p: each for p, each in after.items() if each != self._progress[p]}
        self._compare()
        if after and self._copier is not None:
            for each in self._copier.copy(self._batch, self._committed, after):
                size = each.size_of_copy(self._there.topic)
                most = self._there.largest_copy()
                self._refuse(each, f"its copy has {size} bytes, and the topic accepts {most}")
                self._batch.remove(each)
        self._committed |= after
        self._progress |= after
        self.report.copied.update(letter.reason for letter in self._batch)
        self.report.refused += len(self._refusals)
        for line in self._refusals:
            self._tell(line)
        self._behind, self._batch, self._bytes, self._refusals = {}, [], 0, []

    def _compare(self) -> None:
        """Remove dead letters from the batch that differ from their source offset.

        The others are completed with their omitted parts.
        """
        checked = [each for each in self._batch if self._compares or each.omitted]
        if not checked:
            return
        same = self._sources.originals(checked)
        other = [each for each in checked if each.place not in same]
        self._leave_out(other)
        self._batch = [
            same.get(each.place, each)
            for each in self._batch
            if not each.omitted or self._may_copy(same.get(each.place))
        ]

    def _may_copy(self, original: DeadLetter | None) -> bool:
        """Return whether a dead letter with omitted parts may be copied."""
        if original is None:
            return False
        if original.replayed:
            self.report.replayed_before += 1
            return False
        if why := _why_not(original, self._there.topic, gone=False):
            self._refuse(original, why)
        return not why

    def _leave_out(self, other: list[DeadLetter]) -> None:
        """Remove dead letters that differ from their source offset from the batch."""
        if not other:
            return
        low = self._there.oldest_sources()
        gone = [each for each in other if each.source_offset < low.get(each.source_partition, 0)]
        for each in gone:
            if each.omitted:
                self._refuse(each, _why_not(each, self._there.topic, gone=True))
        if any(not each.omitted for each in gone):
            raise OffsetsError(
                f"topic {self._there.kafka.topics.transactions}: retention took records while dead "
                "letters were compared with them",
                "those before are copied; run it again",
            )
        without = {each.place for each in other}
        self._batch = [each for each in self._batch if each.place not in without]
        wrong = [each for each in other if each.source_offset >= low.get(each.source_partition, 0)]
        self._mismatch(wrong)

    def _mismatch(self, wrong: list[DeadLetter]) -> None:
        """Count dead letters that the input does not confirm; they are skipped permanently."""
        if not wrong:
            return
        self.report.mismatched += len(wrong)
        first = min(wrong, key=lambda each: each.place)
        self.report.first_mismatched = (
            self.report.first_mismatched or f"{first.partition}:{first.offset}"
        )


def _why_not(letter: DeadLetter, topic: str, *, gone: bool) -> str:
    """Return why a dead letter can never be copied; empty if it may be.

    Args:
        letter: Possibly without some parts.
        topic: The dead-letter topic.
        gone: Whether retention deleted its original.
    """
    if None in letter.omitted.values():
        return "it leaves out what could not be read"
    size = letter.size_of_copy(topic)
    if size > client_options.MESSAGE_BYTES_MAX:
        return (
            f"its copy has {size} bytes, and a copy has at most {client_options.MESSAGE_BYTES_MAX}"
        )
    if letter.omitted and gone:
        return "retention took the original, of which it leaves out a part"
    return ""
