"""Decodes decisions and labels to the columns that wait in the file.

Other clients may write to both topics. So a record that cannot be a decision is counted and left
out, and names are bounded in length and number.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.codec.reading.decode import ColumnDecoder, DecodedColumns
from stream_scorer.codec.reading.mapped import PayloadDecoder, open_label_decoder
from stream_scorer.codec.records.record import OWN_SIZES
from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.exploring.planned import are_planned
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.mapping.rates import CONVERTED, base_minor, rates_of
from stream_scorer.core.summaries.segments import segments_of
from stream_scorer.core.summaries.summary_kernels import number_amounts, number_texts
from stream_scorer.core.terminals.columns import label_times, match_of
from stream_scorer.performance.measures.contract import Bool, Float64, Int64, UInt8, UInt64
from stream_scorer.performance.process.names import Names
from stream_scorer.performance.store.rows import SourcedStatements, WaitingDecisions
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema

_DECISION: Final = (
    "transaction_id", "customer_id", "event_time", "score", "decision", "model", "model_version",
    "arm", "plan_revision", "source_partition", "source_offset", "amount_minor", "currency",
    "channel", "policy_outcome", "outcome_propensity", "review_propensity",
)  # fmt: skip
SEGMENT_COLUMNS: Final = ("channel", "currency")
"""Columns of a decision that may be a dimension of segments, in addition to the amount."""
_OUTCOMES: Final = [outcome.name for outcome in Outcome]
_DRAWN: Final = (Flag.DRAWN.name or "").lower()
_DRAWN_BYTES: Final = bytes([len(_DRAWN) * 2]) + _DRAWN.encode()
"""The flag as Avro encodes it: a record without these bytes was not drawn for review."""
_NAME_BYTES_MOST: Final = 1_024
_TIME_MOST: Final = 2**62

Plans = Callable[[int], Plan]
"""Returns the plan of a revision."""


class PerformanceColumns:
    """Decodes the records of both topics.

    Args:
        registry: Has the writers' schemas.
        directory: Contains our own schemas.
        names: Numbers of versions and arms.
    """

    def __init__(self, registry: SchemaSource, directory: Path, names: Names) -> None:
        self._registry = registry
        self._directory = directory
        self._names = names

        def decoder(fields: Sequence[str]) -> ColumnDecoder:
            wanted = narrowed(reader_schema("decision.v3", directory), fields.__contains__)
            return ColumnDecoder(registry, wanted, OWN_SIZES, same_name=True)

        self._decisions = decoder(_DECISION)
        self._flags = decoder(("flags",))
        self._labels: PayloadDecoder
        self.read_labels_by(Plan())

    def read_labels_by(self, plan: Plan) -> None:
        """Decode labels by a plan's mapping of labels from now on, within its limits."""
        self.identity = plan.label_identity
        if plan.labels is None:
            schema = reader_schema("label.v2", self._directory)
            self._labels = ColumnDecoder(self._registry, schema, plan)
        else:
            self._labels = open_label_decoder(self._registry, plan, self._directory)

    def decisions(self, raw: RawRecords, plans: Plans) -> tuple[WaitingDecisions, Int64, int]:
        """Return decisions, their places among the records, and the number of other records.

        Args:
            raw: Records of the decisions topic.
            plans: The plans of their revisions.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoded = self._decisions.decode(raw.values)
        records = decoded.records
        sound = _sound(records)
        drawn = np.flatnonzero(sound & (_chance(records) < 1))
        some = records.take(pa.array(drawn))
        block = _policy_outcome(some) == Outcome.BLOCK
        sound[drawn] = are_planned(_chance(some), block, _int64(some, "plan_revision"), plans)
        version, arm = self._names.of(records, sound)
        sound &= (version >= 0) & (arm >= 0)
        if not sound.all():
            kept = np.flatnonzero(sound)
            records, version, arm = records.take(pa.array(kept)), version[kept], arm[kept]
            decoded = DecodedColumns(records, decoded.rows[kept], decoded.rejections)
        published = _codes(records.column("decision"), _OUTCOMES, Outcome.REVIEW)
        outcome = _policy_outcome(records)
        time = _int64(records, "event_time")
        minor, amount = _amounts(records, plans)
        rows = WaitingDecisions(
            np.asarray(records.column("source_partition"), np.int32),
            _int64(records, "source_offset"),
            match_of(records, time, self.identity),
            time,
            _hashed(records, "customer_id"),
            version.astype(np.int32),
            arm.astype(np.uint8),
            self._segments(records, minor, plans),
            _score(records),
            amount,
            outcome,
            (outcome == Outcome.BLOCK) & (published == Outcome.APPROVE),
            _chance(records),
            self._drawn(raw, decoded),
            np.asarray(records.column("review_propensity"), np.float64),
            _int64(records, "plan_revision"),
        )
        return rows, decoded.rows, len(raw) - len(records)

    def _segments(self, records: pa.RecordBatch, minor: Int64, plans: Plans) -> UInt64:
        """Return uint64[n], a bit for each segment: of all, of amounts, and of known columns.

        A decision has only some columns of its transaction; segments of others are left out.
        """
        revision = _int64(records, "plan_revision")
        bits = np.ones(len(records), np.uint64)
        for number in np.unique(revision).tolist():
            segments = segments_of(plans(number))
            mine = np.flatnonzero(revision == number)
            for dimension in segments.dimensions:
                out = np.empty(len(mine), np.uint8)
                if not dimension.column:
                    number_amounts(minor[mine], dimension.keys, dimension.numbers, out)
                elif dimension.column in SEGMENT_COLUMNS:
                    texts = _hashed(records.take(pa.array(mine)), dimension.column)
                    number_texts(texts, dimension.keys, dimension.numbers, out)
                else:
                    continue
                known = np.ones(len(mine), np.bool_) if dimension.column else minor[mine] >= 0
                for each in np.unique(out[known]).tolist():
                    bit = np.uint64(1) << np.uint64(self._names.segment(segments.names[each - 1]))
                    bits[mine[known & (out == each)]] |= bit
        return bits

    def _drawn(self, raw: RawRecords, decoded: DecodedColumns) -> Bool:
        """Return bool[n], which decisions have the flag of a draw for review."""
        drawn = np.zeros(len(decoded.rows), np.bool_)
        chance = np.asarray(decoded.records.column("review_propensity"), np.float64)
        asked = np.flatnonzero(chance > 0)
        values = [raw.values[row] for row in decoded.rows[asked].tolist()]
        # Lists are slow to decode, so only the records that may have the flag are.
        likely = [at for at, value in enumerate(values) if value and _DRAWN_BYTES in value]
        flags = self._flags.decode([values[at] for at in likely])
        named = zip(flags.rows.tolist(), flags.records.column("flags").to_pylist(), strict=True)
        found = [likely[at] for at, each in named if _DRAWN in each]
        drawn[asked[np.array(found, np.int64)]] = True
        return drawn

    def labels(self, raw: RawRecords, first: int) -> tuple[SourcedStatements, Int64, int]:
        """Return statements, their places among the records, and the number of other records.

        Args:
            raw: Records of the labels topic; those that a mapping of labels skips are not counted.
            first: Number of the topic's first partition in the merged source.
        """
        decoded = self._labels.decode(raw.values)
        records, rows = decoded.records, decoded.rows
        time, label_time = label_times(records, self.identity)
        source = _texts(records, "source")
        told = SourcedStatements(
            match_of(records, time, self.identity),
            (raw.partition[rows] - first).astype(np.int32),
            raw.offset[rows],
            np.minimum(time, _TIME_MOST),
            np.clip(label_time, -_TIME_MOST, _TIME_MOST),
            states_of(records),
            _named(source, _texts(records, "label_id")),
            _named(source, _texts(records, "retracts")),
            _probability(records),
            np.array(source, np.object_),
        )
        return told, rows, len(decoded.rejections.rows)


def _sound(records: pa.RecordBatch) -> Bool:
    """Return bool[n], whether the numbers of decisions are possible."""
    sound = np.ones(len(records), np.bool_)
    for name in ("outcome_propensity", "review_propensity"):
        chance = np.asarray(records.column(name), np.float64)
        sound &= (chance >= 0) & (chance <= 1)
    sound &= _chance(records) > 0
    sound &= np.abs(_int64(records, "event_time")) < _TIME_MOST
    sound &= _int64(records, "plan_revision") >= 0
    for name in ("model", "model_version", "arm"):
        sound &= np.asarray(pc.binary_length(records.column(name))) <= _NAME_BYTES_MOST
    return sound


def _chance(records: pa.RecordBatch) -> Float64:
    """Return float64[n], probabilities of published outcomes, given those of the policy."""
    return np.asarray(records.column("outcome_propensity"), np.float64)


def _policy_outcome(records: pa.RecordBatch) -> UInt8:
    """Return uint8[n], what policies say: what was published, unless it was drawn at random."""
    said = pc.coalesce(records.column("policy_outcome"), records.column("decision"))
    return _codes(said, _OUTCOMES, Outcome.REVIEW)


def _score(records: pa.RecordBatch) -> Float64:
    """Return float64[n], scores; NaN for one that is not a probability."""
    score = np.asarray(records.column("score"), np.float64)
    return np.where((score >= 0) & (score <= 1), score, np.nan)


def _amounts(records: pa.RecordBatch, plans: Plans) -> tuple[Int64, Float64]:
    """Return int64[n], amounts in minor units of each plan's currency; float64[n], in its units.

    They are -1 and NaN where the amount is not known, or has no rate.
    """
    minor, revision = _int64(records, "amount_minor").copy(), _int64(records, "plan_revision")
    minor = np.maximum(minor, -1)
    amount = np.full(len(records), np.nan)
    for number in np.unique(revision).tolist():
        plan = plans(number)
        rows = np.flatnonzero((revision == number) & (minor >= 0))
        if plan.mapping is not None and plan.mapping.rates:
            taken = records.take(pa.array(rows))
            rates = rates_of(plan.mapping.rates, plan.currencies)
            found, bad = base_minor(
                rates, minor[rows], taken.column("currency"), _int64(taken, "event_time")
            )
            minor[rows] = np.where(bad == CONVERTED, found, -1)
        amount[rows] = np.where(minor[rows] >= 0, minor[rows] / plan.minor_per_unit, np.nan)
    return minor, amount


def _texts(records: pa.RecordBatch, name: str) -> list[str]:
    if name not in records.schema.names:
        return [""] * len(records)
    return [each or "" for each in records.column(name).to_pylist()]


def _named(source: Sequence[str], name: Sequence[str]) -> UInt64:
    """Return uint64[m], hashes of (source, id), not 0; 0 without an id."""
    texts = [f"{len(a)}:{a}{b}" for a, b in zip(source, name, strict=True)]
    hashes: UInt64 = np.maximum(hashes_of(pa.array(texts, pa.string())), np.uint64(1))
    return np.where(np.array([bool(each) for each in name], np.bool_), hashes, np.uint64(0))


def _probability(records: pa.RecordBatch) -> Float64:
    """Return float64[m], probabilities of declared draws; NaN for none or an impossible one."""
    if "drawn" not in records.schema.names:
        return np.full(len(records), np.nan)
    column = records.column("drawn").cast(pa.float64())
    drawn = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    return np.where((drawn > 0) & (drawn <= 1), drawn, np.nan)


def _codes(column: pa.Array, names: Sequence[str], other: int) -> UInt8:
    return np.asarray(pc.index_in(column, pa.array(names)).fill_null(int(other)), np.uint8)


def _hashed(records: pa.RecordBatch, name: str) -> UInt64:
    hashes: UInt64 = hashes_of(records.column(name))
    return hashes


def _int64(records: pa.RecordBatch, name: str) -> Int64:
    return np.asarray(records.column(name).cast(pa.int64()), np.int64)
