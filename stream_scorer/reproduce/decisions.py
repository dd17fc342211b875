"""Reads past decisions as columns, and stores them in files by their source."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import DecodedColumns
from stream_scorer.codec.records.decisions import DecisionDecoder
from stream_scorer.core.decision.routing import Version
from stream_scorer.errors import SchemaError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.reproduce.compare import whole_numbers
from stream_scorer.settings import Settings

_RECORDS: Final = 20_000
_OFFSETS: Final = 1 << 16
_MANY: Final = 1_024
_POLL_SECONDS: Final = 0.1
_BLOCK: Final = 65_536

Progress = Callable[[str, int, int], None]
"""Called with the name of what is read, the number of offsets that are done, and their total."""


@dataclass(frozen=True, slots=True)
class Published:
    """n decisions in the order of the topic.

    Attributes:
        records: Fields of the newest decision schema. Fields that a record of version 1 does not
            have are their defaults, and ``explanations`` is null.
        partition: int32[n], their partitions of the topic.
        cut: The topic's partitions whose beginning was deleted.
    """

    records: pa.RecordBatch
    partition: NDArray[np.int32]
    cut: frozenset[int] = frozenset()

    def where(self, kept: NDArray[np.bool_]) -> "Published":
        """Return the decisions that bool[n] selects."""
        return Published(self.records.filter(pa.array(kept)), self.partition[kept], self.cut)


def beyond_input(
    decisions: pa.RecordBatch, topic: str, ends: Mapping[int, int]
) -> NDArray[np.bool_]:
    """Return bool[n]: which decisions name an offset that the input never had.

    Only another client can have written them. They may name any number of partitions and offsets.

    Args:
        decisions: Those of another topic are not among the result.
        topic: The input.
        ends: By partition of the input, the offset after the last; read after the decisions' end.
    """
    ours = np.asarray(
        pc.equal(decisions.column("source_topic"), topic).to_numpy(zero_copy_only=False), np.bool_
    )
    sources = whole_numbers(decisions.column("source_partition"))
    offsets = whole_numbers(decisions.column("source_offset"))
    inside = np.zeros(len(offsets), np.bool_)
    for partition, end in ends.items():
        inside |= (sources == partition) & (offsets >= 0) & (offsets < end)
    return ours & ~inside


class Seen:
    """The source offsets between which each transaction should have a decision in the topic.

    Retention may have deleted the beginnings of some partitions of the topic. Before the latest of
    the remaining beginnings, a decision may have been deleted, so that it does not count as
    missing.

    Args:
        topic: The input.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._first: dict[tuple[int, int], int] = {}
        self._last: dict[int, int] = {}
        self._cut: frozenset[int] = frozenset()

    def add(self, published: Published) -> None:
        """Add decisions, in the order of the topic's partitions."""
        ours = np.asarray(
            pc.equal(published.records.column("source_topic"), self._topic).to_numpy(
                zero_copy_only=False
            ),
            np.bool_,
        )
        sources = whole_numbers(published.records.column("source_partition"))[ours]
        offsets = whole_numbers(published.records.column("source_offset"))[ours]
        partitions = published.partition[ours]
        self._cut |= published.cut
        for partition, source in np.unique(np.stack([partitions, sources]), axis=1).T.tolist():
            mine = offsets[(partitions == partition) & (sources == source)]
            first = int(mine.min())
            place = (partition, source)
            self._first[place] = min(self._first.get(place, first), first)
            self._last[source] = max(self._last.get(source, first), int(mine.max()))

    def bounds(self, source: int) -> tuple[int, int]:
        """Return the first and the last offset of an input partition that has a decision."""
        firsts = {p: first for (p, s), first in self._first.items() if s == source}
        cut = [first for p, first in firsts.items() if p in self._cut]
        return max(cut) if cut else min(firsts.values()), self._last[source]


class Beginnings:
    """The beginnings of the decisions topic's partitions.

    Args:
        firsts: By partition, the offset of the first retained record; 0 if nothing was deleted.
    """

    def __init__(self, firsts: Mapping[int, int]) -> None:
        self._cut = {p: first for p, first in firsts.items() if first}
        self._since: dict[int, int] = {}

    def add(self, published: Published) -> None:
        """Add decisions, in the order of the topic's partitions."""
        for partition in self._cut.keys() - self._since.keys():
            rows = np.flatnonzero(published.partition == partition)
            if len(rows):
                times = whole_numbers(published.records.column("event_time"))
                self._since[partition] = int(times[rows[0]])

    def removed(self, first_ms: int | None) -> list[str]:
        """Return what retention deleted of the requested decisions, by partition.

        Args:
            first_ms: Event time from which all are requested; None: from the beginning.
        """
        return [
            f"the decisions of partition {partition} before offset {first}"
            for partition, first in sorted(self._cut.items())
            if first_ms is None or (since := self._since.get(partition)) is None or first_ms < since
        ]


class DecidedOffsets:
    """Which source offsets have a decision: about one byte per offset, a megabyte per million.

    Another client's decisions may name any offsets. So a block of offsets takes 64 KiB only if
    1,024 of them have a decision; until then it is a list of those.
    """

    def __init__(self) -> None:
        self._few: dict[tuple[str, int, int], NDArray[np.int64]] = {}
        self._many: dict[tuple[str, int, int], NDArray[np.bool_]] = {}

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(each.nbytes for each in (*self._few.values(), *self._many.values()))

    def again(self, decisions: pa.RecordBatch) -> NDArray[np.int64]:
        """Add decisions; return the rows of those whose offset already has one."""
        sources = whole_numbers(decisions.column("source_partition"))
        offsets = whole_numbers(decisions.column("source_offset"))
        topics = decisions.column("source_topic").dictionary_encode()
        places = np.stack([np.asarray(topics.indices, np.int64), sources, offsets // _OFFSETS])
        names = topics.dictionary.to_pylist()
        doubled: list[NDArray[np.int64]] = []
        kinds, which = np.unique(places, axis=1, return_inverse=True)
        for kind, (topic, partition, block) in enumerate(kinds.T.tolist()):
            rows = np.flatnonzero(which.ravel() == kind)
            at = offsets[rows] - block * _OFFSETS
            first = np.zeros(len(rows), np.bool_)
            first[np.unique(at, return_index=True)[1]] = True
            seen = self._add((names[topic], partition, block), at)
            doubled.append(rows[seen | ~first])
        return np.sort(np.concatenate([np.empty(0, np.int64), *doubled]))

    def _add(self, place: tuple[str, int, int], at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Add offsets of a block; return bool[n]: which it had before."""
        if (many := self._many.get(place)) is not None:
            seen = many[at]
            many[at] = True
            return seen
        few = self._few.get(place, np.empty(0, np.int64))
        seen = np.isin(at, few)
        few = np.union1d(few, at)
        if len(few) < _MANY:
            self._few[place] = few
            return seen
        self._few.pop(place, None)
        self._many[place] = np.zeros(_OFFSETS, np.bool_)
        self._many[place][few] = True
        return seen


class DecisionReader:
    """Decodes decisions into columns.

    Args:
        settings: The registry, and the topic's name for messages.
        registry: Has the writers' schemas.
    """

    def __init__(self, settings: Settings, registry: SchemaSource) -> None:
        self._topic = settings.kafka.topics.decisions
        self._decoder = DecisionDecoder(registry, settings.registry.directory)

    def decode(self, raw: RawRecords) -> pa.RecordBatch:
        """Return n decisions, row for row.

        Raises:
            RegistryUnavailableError: A writer's schema cannot be fetched.
            SchemaError: A record is not a decision.
        """
        decoded = self.readable(raw)
        if len(decoded.rejections):
            row = int(decoded.rejections.rows[0])
            raise SchemaError(
                f"topic {self._topic} partition {raw.partition[row]} offset {raw.offset[row]}: no "
                f"decision: {decoded.rejections.details[0]}",
                "only scorers may write there; name their topic: kafka.topics.decisions",
            )
        return decoded.records

    def readable(self, raw: RawRecords) -> DecodedColumns:
        """Return those of n records that are decisions, and why the others are not.

        Raises:
            RegistryUnavailableError: A writer's schema cannot be fetched.
        """
        return self._decoder.decode(raw.values)


def recorded(
    settings: Settings,
    registry: SchemaSource,
    progress: Progress,
    skipped: Callable[[int], None] | None = None,
) -> Iterator[Published]:
    """Yield the decisions that the topic has now, some thousand at a time.

    Args:
        settings: The cluster and the topic.
        registry: Has the writers' schemas.
        progress: Called with the progress.
        skipped: Called with the number of records that are not decisions; None: they are an error.

    Raises:
        SchemaError: A record is not a decision.
        SettingsError: The topic does not exist.
        UnavailableError: No offset could be read for 30 s.
    """
    topic = settings.kafka.topics.decisions
    decoder = DecisionReader(settings, registry)
    reader = TopicFollower(settings.kafka, topic, "reproduce")
    try:
        reader.mark_end(stable=False)
        whole = reader.left
        cut = frozenset(p for p, first in reader.first.items() if first)
        while reader.left:
            raw = reader.poll_to_end(_RECORDS, _POLL_SECONDS)
            progress(topic, whole - reader.left, whole)
            if raw is not None and skipped is None:
                decisions = read_patiently(partial(decoder.decode, raw))
                yield Published(decisions, raw.partition, cut)
            elif raw is not None and skipped is not None:
                readable = read_patiently(partial(decoder.readable, raw))
                skipped(len(readable.rejections))
                yield Published(readable.records, raw.partition[readable.rows], cut)
    finally:
        reader.close()


def by_version(decisions: pa.RecordBatch) -> Iterator[tuple[Version, NDArray[np.int64]]]:
    """Yield each model version that decided some of them, and int64[k], its rows."""
    labels = pc.binary_join_element_wise(
        decisions.column("model"), decisions.column("model_version"), "\0"
    ).dictionary_encode()
    codes = labels.indices.to_numpy(zero_copy_only=False)
    for code, label in enumerate(labels.dictionary.to_pylist()):
        yield Version(*label.split("\0", 1)), np.flatnonzero(codes == code)


class Spool:
    """Decisions in temporary files, by source partition and block of 65,536 offsets.

    Args:
        folder: An empty folder.

    Attributes:
        first_offsets: By source partition and version, the first source offset that it decided.
        earliest: By source partition, the oldest event time among them, ms.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, dict[int, list[Path]]] = {}
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._written = 0
        self.first_offsets: dict[tuple[int, Version], int] = {}
        self.earliest: dict[int, int] = {}

    def add(self, decisions: pa.RecordBatch) -> None:
        """Write decisions to files."""
        partitions = whole_numbers(decisions.column("source_partition"))
        offsets = whole_numbers(decisions.column("source_offset"))
        times = whole_numbers(decisions.column("event_time"))
        places = np.stack([partitions, offsets // _BLOCK], axis=1)
        for partition, block in np.unique(places, axis=0).tolist():
            rows = np.flatnonzero((partitions == partition) & (offsets // _BLOCK == block))
            some = decisions.take(pa.array(rows))
            self._put(partition, block, some)
            for version, mine in by_version(some):
                place, at = (partition, version), int(offsets[rows[mine]].min())
                self.first_offsets[place] = min(self.first_offsets.get(place, at), at)
            first, last = int(offsets[rows].min()), int(offsets[rows].max())
            self._first[partition] = min(self._first.get(partition, first), first)
            self._last[partition] = max(self._last.get(partition, last), last)
            earliest = int(times[rows].min())
            self.earliest[partition] = min(self.earliest.get(partition, earliest), earliest)

    def _put(self, partition: int, block: int, rows: pa.RecordBatch) -> None:
        path = self._folder / f"{self._written}.arrow"
        self._written += 1
        with pa.ipc.new_file(path, rows.schema) as writer:
            writer.write_batch(rows)
        self._files.setdefault(partition, {}).setdefault(block, []).append(path)

    @property
    def versions(self) -> set[Version]:
        """The versions that decided any of them."""
        return {version for _, version in self.first_offsets}

    @property
    def partitions(self) -> tuple[int, ...]:
        """Source partitions that have decisions, ascending."""
        return tuple(sorted(self._files))

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first source offset of a partition, and the one after the last."""
        return self._first[partition], self._last[partition] + 1

    def between(self, partition: int, first: int, end: int) -> pa.RecordBatch:
        """Return the decisions of source offsets ``first`` … ``end`` - 1, ascending."""
        blocks = self._files[partition]
        # A decision of another client may have any offset, so most blocks may be empty.
        there = sorted(block for block in blocks if first // _BLOCK <= block <= (end - 1) // _BLOCK)
        found = [_read(path) for block in there for path in blocks[block]]
        if not found:
            any_file = next(iter(next(iter(blocks.values()))))
            return _read(any_file).slice(0, 0)
        joined = pa.concat_batches(found)
        offsets = whole_numbers(joined.column("source_offset"))
        rows = np.flatnonzero((offsets >= first) & (offsets < end))
        order = rows[np.argsort(offsets[rows], kind="stable")]
        return joined.take(pa.array(order))


def _read(path: Path) -> pa.RecordBatch:
    with pa.ipc.open_file(path) as reader:
        return reader.get_batch(0)
