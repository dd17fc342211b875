"""Reads the decisions topic: all decisions that it has now, or new ones as they arrive."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer import devkafka, settings
from stream_scorer.client.decision import Decision, decisions_of
from stream_scorer.client.features import PREFIX, FeatureNames, store_settings
from stream_scorer.client.reading import PartitionReader
from stream_scorer.codec.records.decisions import EXPLANATIONS, DecisionDecoder
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import open_registry

Start: TypeAlias = Literal["earliest", "latest"] | Mapping[int, int]
"""Where a read begins: at the oldest record, at the end, or at an offset by partition."""
_SINCE_2 = ("amount_minor", "currency", "channel", "policy_revision")
_UTC = pa.timestamp("ms", "UTC")
_TIMES = ("event_time", "decided_at", "terminal_watermark")
_FIRST_MS, _END_MS = -62_135_596_800_000, 253_402_300_800_000
"""From the year 1 to the end of the year 9999."""
_RECORDS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record of the topic that is not a decision.

    Attributes:
        topic: The topic.
        partition: Its partition.
        offset: Its offset.
        reason: Why it is not.
    """

    topic: str
    partition: int
    offset: int
    reason: str


class DecisionTopic:
    """Reads decisions: only committed ones, each once, in the order of their partition.

    It joins no consumer group and commits nothing. To continue later, keep the next offset of each
    partition (``decision.offset + 1``) and give it as ``start``.

    Args:
        config: Settings file with ``[kafka]`` and ``[registry]``, as for every command; None: the
            environment's ``STREAM_SCORER_*`` variables alone. Security settings are in
            ``kafka.client`` and ``kafka.password``.
        bootstrap: ``host:port`` list of the cluster, instead of the settings'.
        topic: The decisions topic, instead of the settings'.
        registry: URL of the schema registry, instead of the settings'.
        models: Folder or fsspec URL of the model store, or its settings: features then have the
            names of the manifest. None: ``feature_0``, ``feature_1`` and so on.
        on_unreadable: Called with each record that is not a decision, which is then left out. None:
            such a record is an error.

    Raises:
        SettingsError: A setting is wrong, or names no cluster.
        UnavailableError: The model store does not answer.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        bootstrap: str | None = None,
        topic: str | None = None,
        registry: str | None = None,
        models: str | Path | settings.Models | None = None,
        on_unreadable: Callable[[UnreadableRecord], None] | None = None,
    ) -> None:
        given: dict[str, dict[str, Any]] = {"kafka": {}, "registry": {}}
        if bootstrap is not None:
            given["kafka"]["bootstrap"] = bootstrap
        if topic is not None:
            given["kafka"]["topics"] = {"decisions": topic}
        if registry is not None:
            given["registry"]["url"] = registry
        chosen = settings.load_settings(
            {name: table for name, table in given.items() if table},
            None if config is None else Path(config),
        )
        fix = "give bootstrap=, or name it in the settings file: kafka.bootstrap"
        chosen = devkafka.connected(chosen, fix)
        self._kafka = chosen.kafka
        self._topic = chosen.kafka.topics.decisions
        self._names = FeatureNames(None if models is None else store_settings(models))
        source = open_registry(chosen.registry)
        self._decoder = DecisionDecoder(source, chosen.registry.directory)
        self._on_unreadable = on_unreadable

    def records(
        self,
        *,
        start: Start = "earliest",
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Generator[Decision, None, None]:
        """Yield decisions one by one.

        Args:
            start: Where to begin; a partition that a mapping does not list is not read.
            follow: Whether to continue with new decisions, until ``stop``; otherwise the read ends
                at the end that the topic has now.
            stop: With ``follow``: called ten times a second; true ends the read.

        Raises:
            ModelError: The model store does not have the names of a version's features.
            SchemaError: A record is not a decision, and there is no ``on_unreadable``.
            SettingsError: The topic or a partition does not exist, or retention has deleted the
                offset that is to be read next.
            UnavailableError: The broker, the registry or the model store does not answer.
        """
        for records in self._decoded(start, stop if follow else None, _RECORDS_AT_ONCE):
            plain = records.drop_columns(["features"])
            yield from decisions_of(plain, self._names.rows(records))

    def batches(
        self,
        *,
        start: Start = "earliest",
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
        rows: int = _RECORDS_AT_ONCE,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Yield decisions as Arrow columns.

        Columns are the fields of the schema, ``partition`` and ``offset`` of the topic, and
        ``features.NAME`` for each feature of the models in the batch: NaN where the value is
        missing, null where a decision's model has no such feature.

        Args:
            start: As in :meth:`records`.
            follow: As in :meth:`records`.
            stop: As in :meth:`records`.
            rows: Maximum number of rows in a batch.

        Raises:
            StreamScorerError: As :meth:`records`.
        """
        for records in self._decoded(start, stop if follow else None, rows):
            named = self._names.columns(records)
            columns = [
                *(column for name, column in _pairs(records) if name != "features"),
                *named.values(),
            ]
            names = [name for name in records.schema.names if name != "features"]
            yield pa.RecordBatch.from_arrays(
                columns, names=[*names, *(f"{PREFIX}{name}" for name in named)]
            )

    def table(self, *, start: Start = "earliest") -> pa.Table:
        """Return all decisions that the topic has now; raises as :meth:`records`.

        Args:
            start: As in :meth:`records`.
        """
        tables = [pa.Table.from_batches([batch]) for batch in self.batches(start=start)]
        if not tables:
            nothing = self._decoder.decode(BytesColumn.of(())).records
            empty = _finished(nothing, np.empty(0, np.int32), np.empty(0, np.int64))
            return pa.Table.from_batches([empty.drop_columns(["features"])])
        return pa.concat_tables(tables, promote_options="default")

    def ends(self) -> Mapping[int, int]:
        """Return the next offset of each partition of the topic.

        Raises:
            SettingsError: The topic does not exist.
            UnavailableError: The broker does not answer.
        """
        return dict(bounds(self._kafka, self._topic, stable=False)[1])

    def _decoded(
        self, start: Start, stop: Callable[[], bool] | None, maximum: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield decisions with their offsets; without ``stop``, to the topic's current end."""
        first, end = bounds(self._kafka, self._topic, stable=False)
        reader = PartitionReader(self._kafka, self._topic, self._begin(start, first, end))
        try:
            raws = reader.to(end, maximum) if stop is None else reader.follow(stop, maximum)
            for raw in raws:
                records = self._columns(raw)
                if len(records):
                    yield records
        finally:
            reader.close()

    def _begin(
        self, start: Start, first: Mapping[int, int], end: Mapping[int, int]
    ) -> Mapping[int, int]:
        if isinstance(start, str):
            return first if start == "earliest" else end
        for partition in start:
            if partition not in first:
                raise SettingsError(
                    f"topic {self._topic}: has no partition {partition}",
                    f"there are 0 to {max(first, default=0)}",
                )
        return start

    def _columns(self, raw: RawRecords) -> pa.RecordBatch:
        decoded = self._decoder.decode(raw.values)
        refused = list(
            zip(decoded.rejections.rows.tolist(), decoded.rejections.details, strict=True)
        )
        records, rows = decoded.records, decoded.rows
        timed = _with_times(records)
        if not timed.all():
            refused += [(row, "a time that no calendar has") for row in rows[~timed].tolist()]
            records, rows = records.filter(pa.array(timed)), rows[timed]
        for row, reason in refused:
            self._refuse(
                UnreadableRecord(self._topic, int(raw.partition[row]), int(raw.offset[row]), reason)
            )
        return _finished(records, raw.partition[rows], raw.offset[rows])

    def _refuse(self, record: UnreadableRecord) -> None:
        if self._on_unreadable is not None:
            self._on_unreadable(record)
            return
        raise SchemaError(
            f"topic {record.topic} partition {record.partition} offset {record.offset}: not a "
            f"decision: {record.reason}",
            "only scorers may write there; to leave such records out: on_unreadable=",
        )


def _pairs(records: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    return zip(records.schema.names, records.columns, strict=True)


def _with_times(records: pa.RecordBatch) -> NDArray[np.bool_]:
    """Return bool[n]: which records have times that Python's calendar has."""
    good = np.ones(len(records), np.bool_)
    for name in _TIMES:
        column = records.column(name).cast(pa.int64())
        time = column.fill_null(0).to_numpy(zero_copy_only=False)
        good &= (time >= _FIRST_MS) & (time < _END_MS)
    return good


def _finished(
    records: pa.RecordBatch, partition: NDArray[np.int32], offset: NDArray[np.int64]
) -> pa.RecordBatch:
    """Return decisions with times in UTC, offsets, and nulls for what version 1 does not have."""
    first = records.column(EXPLANATIONS).is_null()
    columns = dict(_pairs(records))
    for name in _TIMES:
        columns[name] = columns[name].cast(_UTC)
    if first.true_count:
        for name in _SINCE_2:
            kept = columns[name]
            columns[name] = pc.if_else(first, pa.scalar(None, kept.type), kept)
    places = {"partition": pa.array(partition), "offset": pa.array(offset)}
    return pa.RecordBatch.from_pydict({**columns, **places})
