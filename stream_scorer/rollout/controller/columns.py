"""Decodes decisions, shadow scores, labels and summaries to the columns of a rollout's evidence.

Only the fields that evidence needs are decoded, and no lists. So an error is recognised by its
effect: there is no score (reason ``MODEL_ERROR``), or another version than the canary's decided for
the canary (flag ``fallback``). The amount is the model's feature of it.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder, DecodedColumns
from stream_scorer.codec.reading.mapped import open_label_decoder
from stream_scorer.codec.records.record import OWN_SIZES, RecordCodec, RecordError
from stream_scorer.core.decision.decide_batch import CENTRAL_ARM
from stream_scorer.core.decision.given_rows import EDGE_ARM
from stream_scorer.core.decision.routing import CANARY, Routing
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of, string_views
from stream_scorer.core.labelling.contract import LabelPolicy, Statements
from stream_scorer.core.mapping.rates import base_minor, rates_of
from stream_scorer.core.summaries.plausible_summary import refuse_implausible
from stream_scorer.core.terminals.columns import label_times
from stream_scorer.core.terminals.profile_kernels import mixed
from stream_scorer.errors import ModelError, RegistryUnavailableError, SchemaError
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.ports import Headers, Int64, RawRecords
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.rollout.evidence.bucket_counts import ArmCodes, Decisions, Shadowed
from stream_scorer.rollout.evidence.label_rows import statements_of

UInt64 = NDArray[np.uint64]
Float64 = NDArray[np.float64]

_DECISION: Final = (
    "transaction_id", "customer_id", "event_time", "score", "decision", "model", "model_version",
    "arm", "plan_revision", "propensity", "features", "source_partition", "source_offset",
    "policy_outcome", "outcome_propensity",
)  # fmt: skip
_SHADOW: Final = (
    "source_partition", "source_offset", "transaction_id", "customer_id", "event_time",
    "amount_minor", "currency", "arm", "decision", "champion_score", "champion_decision",
    "plan_revision", "failed", "champion_policy_outcome", "outcome_propensity",
)  # fmt: skip
_OUTCOMES: Final = [outcome.name for outcome in Outcome]
_FLOAT_BYTES: Final = 8
_SECONDS: Final = "seconds."
_UNREADABLE: Final = (0, -1)
"""No decision has features of that size."""
_VERSIONS_MOST: Final = 1_000
NAME_BYTES_MOST: Final = 1_024
"""Bytes of a name in a decision or a shadow score. An id may be longer: its hash is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceColumns:
    """The transactions of n rows.

    Attributes:
        row: int64[n], place in the batch, ascending.
        key: uint64[n], hash of customer and transaction id. If labels do not name the customer, it
            is of the transaction id and the event time, or of the id alone.
        event_time: int64[n], ms.
        partition: int32[n], source partition of the transaction.
        offset: int64[n], its source offset.
    """

    row: Int64
    key: UInt64
    event_time: Int64
    partition: NDArray[np.int32]
    offset: Int64

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Timings:
    """The summary of one arm in a Kafka transaction, with the timings in its headers.

    Attributes:
        row: Place in the batch.
        timestamp: Kafka's, ms.
        arm: The arm that decided.
        revision: Of the plan.
        count: Number of decisions.
        last: Whether it is the last of the Kafka transaction, whose headers have all stages.
        seconds: Durations by stage.
    """

    row: int
    timestamp: int
    arm: str
    revision: int
    count: int
    last: bool
    seconds: Mapping[str, float]


class EvidenceColumns:
    """Decodes the records from which a rollout's evidence is computed.

    Args:
        registry: Has the writers' schemas.
        directory: Contains our own schemas.
        manifests: Lists the model store, and returns a function that returns the manifest of
            NAME:VERSION. Both raise ``ModelError`` for what is missing. Called at most once in a
            batch.
    """

    def __init__(
        self,
        registry: SchemaSource,
        directory: Path,
        manifests: Callable[[], Callable[[str], Manifest]],
    ) -> None:
        self._registry = registry
        self._manifests = manifests
        self._amounts: dict[str, tuple[int, int]] = {}

        def decoder(name: str, fields: Sequence[str]) -> ColumnDecoder:
            wanted = narrowed(reader_schema(name, directory), fields.__contains__)
            return ColumnDecoder(registry, wanted, OWN_SIZES, same_name=True)

        self._decisions = decoder("decision.v3", _DECISION)
        self._shadows = decoder("shadow-score.v2", _SHADOW)
        self._directory = directory
        self.read_labels_by(Plan())
        # Decoding uses the writer's schema; the codec's own is only for encoding.
        self._summaries = RecordCodec(1, reader_schema("summary.v4", directory))

    def read_labels_by(self, plan: Plan) -> None:
        """Decode labels by a plan's mapping of labels from now on, within its limits.

        Args:
            plan: The plan that the arms of the rollout share.
        """
        # Other programs write labels, too, so the limits for untrusted records apply.
        mapped = plan if plan.labels is not None else Plan()
        self._labels = open_label_decoder(self._registry, mapped, self._directory)
        self._identity = plan.label_identity
        self._policy = LabelPolicy.of(read_label_policy(plan.label_policy))

    def decisions(
        self, raw: RawRecords, routings: Callable[[int], Mapping[int, Routing]], minor_per_unit: int
    ) -> tuple[Decisions, SourceColumns, int]:
        """Return decisions, their sources, and the number of records that are not decisions.

        Args:
            raw: Records of the decisions topic.
            routings: Returns the known revisions, up to the given one at least.
            minor_per_unit: Minor units in a unit of the currency.

        Raises:
            ModelError: A version of a revision has no feature of the amount, or is missing.
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoded = _short_named(self._decisions.decode(raw.values), "model", "model_version", "arm")
        decoded, devices = _without_arm(decoded, EDGE_ARM)
        records = decoded.records
        models = pc.binary_join_element_wise(
            records.column("model"), records.column("model_version"), ":"
        ).dictionary_encode()
        labels, which = models.dictionary.to_pylist(), np.asarray(models.indices, np.int64)
        revision = _int64(records, "plan_revision")
        known = routings(int(revision.max(initial=0)))
        named = {version.label for each in known.values() for version in each.versions.values()}
        amount, sound = _amounts(records.column("features"), self._places(labels, named), which)
        if not sound.all():
            kept = np.flatnonzero(sound)
            decoded = _take(decoded, kept)
            records, which, amount = decoded.records, which[kept], amount[kept]
        revision = _int64(records, "plan_revision")
        arm = ArmCodes.of(records.column("arm"))
        score = np.asarray(records.column("score"), np.float64)
        error = np.isnan(score) | _fallen_back(arm, revision, labels, which, known)
        decisions = Decisions(
            _hashed(records, "customer_id"), arm, revision,
            np.asarray(records.column("propensity"), np.float64),
            _outcome(records, "policy_outcome", "decision"),
            np.rint(amount * minor_per_unit).astype(np.int64), error,
            _outcome(records, "decision"), _chance(records),
        )  # fmt: skip
        return decisions, self._source(decoded), len(raw) - len(records) - devices

    def shadows(
        self, raw: RawRecords, routings: Callable[[int], Mapping[int, Routing]]
    ) -> tuple[Shadowed, SourceColumns, int]:
        """Return shadow scores, likewise; amounts are in the plan's base currency.

        Args:
            raw: Records of the shadow scores' topic.
            routings: As for :meth:`decisions`.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoded = _short_named(self._shadows.decode(raw.values), "currency", "arm")
        decoded, devices = _without_arm(decoded, CENTRAL_ARM)
        records = decoded.records
        revision = _int64(records, "plan_revision")
        known = routings(int(revision.max(initial=0)))
        score = np.asarray(records.column("champion_score"), np.float64)
        shadowed = Shadowed(
            _hashed(records, "customer_id"), ArmCodes.of(records.column("arm")),
            revision, _outcome(records, "decision"),
            _truth(records, "failed"),
            _outcome(records, "champion_policy_outcome", "champion_decision"), np.isnan(score),
            _in_base(records, revision, known), _outcome(records, "champion_decision"),
            _chance(records),
        )  # fmt: skip
        return shadowed, self._source(decoded), len(raw) - len(records) - devices

    def labels(self, raw: RawRecords, first: int) -> tuple[Statements, Int64, int]:
        """Return statements, their places in the batch, and the number of records that are none.

        Args:
            raw: Records of the labels topic; those that a mapping of labels skips are not counted.
            first: Number of the topic's first partition in the merged source.
        """
        decoded = self._labels.decode(raw.values)
        records, rows = decoded.records, decoded.rows
        time, label_time = label_times(records, self._identity)
        partition = (raw.partition[rows] - first).astype(np.int32)
        told = statements_of(
            records, self._key(records), time, label_time, partition, raw.offset[rows], self._policy
        )
        return told, rows, len(decoded.rejections.rows)

    def timings(self, raw: RawRecords) -> tuple[list[Timings], int]:
        """Return the timings of summaries, and the number of records that are not summaries."""
        found: list[Timings] = []
        for row, value in enumerate(raw.values):
            try:
                summary = self._summaries.decode(value or b"", self._registry)
                refuse_implausible(summary)
                count = sum(window["count"] for window in summary["windows"])
                told = Timings(
                    row, int(raw.timestamp[row]), summary.get("arm", ""),
                    summary["plan_revision"], count, bool(summary["sources"]),
                    _seconds(raw.headers[row] if raw.headers else None),
                )  # fmt: skip
            except RegistryUnavailableError:
                raise
            except (RecordError, SchemaError, KeyError, TypeError, ValueError):
                continue
            found.append(told)
        return found, len(raw) - len(found)

    def _source(self, decoded: DecodedColumns) -> SourceColumns:
        records = decoded.records
        partition = np.asarray(records.column("source_partition"), np.int32)
        return SourceColumns(
            decoded.rows, self._key(records), _int64(records, "event_time"), partition,
            _int64(records, "source_offset"),
        )  # fmt: skip

    def _key(self, records: pa.RecordBatch) -> UInt64:
        key = _hashed(records, "transaction_id")
        if self._identity.by_customer:
            key = mixed(_hashed(records, "customer_id"), key)
        elif self._identity.by_time:
            key = mixed(key, _int64(records, "event_time"))
        return key

    def _places(self, labels: Sequence[str], named: AbstractSet[str]) -> list[tuple[int, int]]:
        """Return the index of each version's feature of the amount, and its number of features.

        Args:
            labels: NAME:VERSION, each once.
            named: Those that a revision names. Decisions of other versions may be another client's:
                if their version cannot be loaded or has no amount, they are unreadable.
        """
        again = [
            label for label in labels
            if label in named and self._amounts.get(label, _UNREADABLE) == _UNREADABLE
        ]  # fmt: skip
        strange = [each for each in labels if each not in named and each not in self._amounts]
        room = max(_VERSIONS_MOST - len(self._amounts), 0)
        if asked := again + strange[:room]:
            self._look_up(asked, named)
        return [self._amounts.get(label, _UNREADABLE) for label in labels]

    def _look_up(self, labels: Sequence[str], named: AbstractSet[str]) -> None:
        """Remember the places of the amounts of versions; the store is listed once for all."""
        try:
            manifest_of = self._manifests()
        except ModelError:
            if not named.isdisjoint(labels):
                raise
            self._amounts |= dict.fromkeys(labels, _UNREADABLE)
            return
        for label in labels:
            try:
                found = _place_of_amount(label, manifest_of(label).features)
            except ModelError:
                if label in named:
                    raise
                found = _UNREADABLE
            self._amounts[label] = found


def _place_of_amount(label: str, specs: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    own = [
        at
        for at, spec in enumerate(specs)
        if spec.get("kind") == "passthrough" and spec.get("field") == "amount"
    ]
    if not own:
        raise ModelError(
            f"model {label}: has no feature of kind passthrough over the amount, so its "
            "decisions do not say what they were worth",
            "a rollout with a controller needs one in every version: see docs/ROLLOUT.md",
        )
    return own[0], len(specs)


def _in_base(records: pa.RecordBatch, revision: Int64, known: Mapping[int, Routing]) -> Int64:
    """Return int64[n], amounts in the base currency of each row's plan; 0 without a rate.

    Shadow scores have amounts in the transaction's currency.
    """
    amount = _int64(records, "amount_minor").copy()
    for number in np.unique(revision).tolist():
        routing = known.get(number)
        mapping = None if routing is None else routing.shared.mapping
        if routing is None or mapping is None or not mapping.rates:
            continue
        rows = np.flatnonzero(revision == number)
        taken = records.take(pa.array(rows))
        rates = rates_of(mapping.rates, routing.shared.currencies)
        amount[rows], _ = base_minor(
            rates, amount[rows], taken.column("currency"), _int64(taken, "event_time")
        )
    return amount


def _amounts(
    features: pa.Array, places: Sequence[tuple[int, int]], which: Int64
) -> tuple[Float64, NDArray[np.bool_]]:
    """Return float64[n], amounts, and bool[n], whether they could be read and are finite."""
    offsets, data = string_views(features)
    begins, sizes = offsets[:-1].astype(np.int64), np.diff(offsets)
    of = np.array(places, np.int64).reshape(-1, 2)
    sound = sizes == of[which, 1] * _FLOAT_BYTES
    amount = np.zeros(len(which))
    at = begins[sound] + of[which[sound], 0] * _FLOAT_BYTES
    bytes_of = data[at[:, None] + np.arange(_FLOAT_BYTES)]
    amount[sound] = np.ascontiguousarray(bytes_of).view("<f8").ravel()
    return amount, sound & np.isfinite(amount)


def _fallen_back(
    arm: ArmCodes, revision: Int64, labels: Sequence[str], which: Int64,
    routings: Mapping[int, Routing],
) -> NDArray[np.bool_]:  # fmt: skip
    """Return bool[n]: whether another version decided in the canary's place."""
    fallen = np.zeros(len(arm), np.bool_)
    canary = arm.are(CANARY)
    for number in np.unique(revision[canary]).tolist():
        routing = routings.get(number)
        if routing is None or CANARY not in routing.versions:
            continue
        own = routing.versions[CANARY].label
        others = [at for at, label in enumerate(labels) if label != own]
        fallen |= canary & (revision == number) & np.isin(which, others)
    return fallen


def _short_named(decoded: DecodedColumns, *names: str) -> DecodedColumns:
    """Return the records of which none of these texts is longer than ``NAME_BYTES_MOST``."""
    short = np.ones(len(decoded.rows), np.bool_)
    for name in names:
        short &= np.asarray(pc.binary_length(decoded.records.column(name))) <= NAME_BYTES_MOST
    return decoded if short.all() else _take(decoded, np.flatnonzero(short))


def _without_arm(decoded: DecodedColumns, arm: str) -> tuple[DecodedColumns, int]:
    """Return the records of other arms, and how many are left out.

    What devices decided, and what is compared with it, is no evidence for a rollout.
    """
    other = np.asarray(pc.not_equal(decoded.records.column("arm"), arm), np.bool_)
    left = len(other) - int(other.sum())
    return (_take(decoded, np.flatnonzero(other)), left) if left else (decoded, 0)


def _take(decoded: DecodedColumns, rows: Int64) -> DecodedColumns:
    return DecodedColumns(
        decoded.records.take(pa.array(rows)), decoded.rows[rows], decoded.rejections
    )


def _hashed(records: pa.RecordBatch, name: str) -> UInt64:
    hashes: UInt64 = hashes_of(records.column(name))
    return hashes


def _int64(records: pa.RecordBatch, name: str) -> Int64:
    return np.asarray(records.column(name).cast(pa.int64()), np.int64)


def _truth(records: pa.RecordBatch, name: str) -> NDArray[np.bool_]:
    return np.asarray(records.column(name).to_numpy(zero_copy_only=False), np.bool_)


def _outcome(records: pa.RecordBatch, *names: str) -> NDArray[np.uint8]:
    """Return uint8[n], outcomes; where a field is null, those of the next one."""
    codes = [pc.index_in(records.column(name), pa.array(_OUTCOMES)) for name in names]
    return np.asarray(pc.coalesce(*codes).fill_null(int(Outcome.REVIEW)), np.uint8)


def _chance(records: pa.RecordBatch) -> Float64:
    """Return float64[n] in (0, 1]: probabilities of published outcomes, NaN if one is not."""
    chance = np.asarray(records.column("outcome_propensity"), np.float64)
    return np.where((chance > 0) & (chance <= 1), chance, np.nan)


def _seconds(headers: Headers) -> dict[str, float]:
    """Return durations by stage; values that are not numbers are left out."""
    found = {}
    for name, value in headers or ():
        if name.startswith(_SECONDS) and value is not None:
            try:
                found[name.removeprefix(_SECONDS)] = float(value)
            except ValueError:
                continue
    return found
