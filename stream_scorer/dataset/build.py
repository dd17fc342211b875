"""Builds the rows of a dataset from decisions and statements; it reads and knows no topic."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.planned import are_planned
from stream_scorer.core.labelling.contract import (
    DISPUTED,
    FRAUD,
    GENUINE,
    NO_LABEL,
    UNKNOWN,
    LabelPolicy,
    Resolved,
)
from stream_scorer.core.mapping.rates import base_minor, rates_of
from stream_scorer.core.terminals.columns import match_of
from stream_scorer.dataset.decisions import DecidedDecoder, DecidedRows, features_of
from stream_scorer.dataset.refold import RefoldedFeatures
from stream_scorer.dataset.sampling import sampled
from stream_scorer.dataset.statements import KnownStatements
from stream_scorer.dataset.write import DatasetWriter, schema_of
from stream_scorer.errors import SettingsError
from stream_scorer.ports import RawRecords

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

REASONS: Final = (
    "blocked", "unknown", "sampled", "other_model", "other_features", "no_amount", "unreadable",
)  # fmt: skip
"""Why a decision of the range is not in the dataset."""


@dataclass(frozen=True, slots=True)
class RevisionPlans:
    """The plan of each revision.

    Attributes:
        plans: By revision.
        other: Of every other revision, also of none.
    """

    plans: Mapping[int, Plan]
    other: Plan

    def of(self, revision: int) -> Plan:
        """Return the plan of a revision."""
        return self.plans.get(revision, self.other)

    @property
    def newest(self) -> Plan:
        """The plan of the newest revision."""
        return self.of(max(self.plans, default=0))


@dataclass(frozen=True, slots=True)
class DatasetRange:
    """Which decisions become rows, and how many of them.

    Attributes:
        first_ms: First event time, ms.
        end_ms: End of the event times, ms, exclusive.
        as_of_ms: The time of the labels, ms.
        sample: Share of the genuine rows that is kept.
        model: Name of the model.
        names: Of its features, in column order.
        same: Returns whether a version of the model has these features.
        refolded: Features that replace the recorded ones; None: those that were recorded.
        source: The topic of the transactions of which ``refolded`` has the features.
    """

    first_ms: int
    end_ms: int
    as_of_ms: int
    sample: float
    model: str
    names: tuple[str, ...]
    same: Callable[[str], bool]
    refolded: RefoldedFeatures | None = None
    source: str = ""


class DatasetBuilder:
    """Takes batches of decisions, and writes the rows that they become.

    A row is fraud or genuine by the statements that were known, and by the policy of the plan that
    was active. A blocked transaction without a label is unknown, whatever the policy. Unknown ones
    are left out. So is a blocked one that could have been let through at random: those that were
    stand for it, with the inverse of their probability as weight.

    Args:
        folder: An empty folder.
        range_: Which decisions.
        statements: What was known about the transactions.
        plans: The plan of each revision: policy, rates and mapping of labels.
        decoder: Decodes decisions.

    Attributes:
        left_out: Decisions of the range that are not in the dataset, by reason.
        frauds: Rows that are frauds.
        versions: Rows by version.
    """

    def __init__(
        self,
        folder: Path,
        range_: DatasetRange,
        statements: KnownStatements,
        plans: RevisionPlans,
        decoder: DecidedDecoder,
    ) -> None:
        self._range = range_
        self._statements = statements
        self._plans = plans
        self._policies: dict[int, LabelPolicy] = {}
        self._decoder = decoder
        self._schema = schema_of(range_.names)
        self._writer = DatasetWriter(folder, self._schema)
        self._same: dict[str, bool] = {}
        self.left_out: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.versions: Counter[str] = Counter()
        self.frauds = 0

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return self._writer.rows

    def add(self, raw: RawRecords) -> None:
        """Add records of the topic of decisions.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now; nothing is added.
        """
        decided, unreadable = self._decoder.decode(raw)
        self.left_out["unreadable"] += unreadable
        time = decided.event_time
        decided = decided.take(
            np.flatnonzero((time >= self._range.first_ms) & (time < self._range.end_ms))
        )
        decided = self._without(decided, self._of_model(decided), "other_model")
        decided = self._without(decided, self._of_version(decided), "other_features")
        # A decision of version 1 of its schema does not say what its transaction was worth.
        decided = self._without(decided, _int64(decided, "amount_minor") >= 0, "no_amount")
        block = decided.blocked | decided.through
        planned = are_planned(decided.propensity, block, decided.revision, self._plans.of)
        decided = self._without(decided, planned, "unreadable")
        features, fits = self._features(decided)
        features, decided = features[fits], self._without(decided, fits, "other_features")
        if len(decided):
            self._add(decided, features)

    def _features(self, decided: DecidedRows) -> tuple[Float64, Bool]:
        """Return the features of n decisions, and bool[n]: which have them."""
        refolded = self._range.refolded
        if refolded is None:
            return features_of(decided.records.column("features"), len(self._range.names))
        found, known = refolded.of(
            _int64(decided, "source_partition"), _int64(decided, "source_offset")
        )
        ours = pc.equal(decided.records.column("source_topic"), self._range.source)
        return found, known & np.asarray(ours)

    def _without(self, decided: DecidedRows, kept: Bool, reason: str) -> DecidedRows:
        self.left_out[reason] += int(np.count_nonzero(~kept))
        return decided if kept.all() else decided.take(np.flatnonzero(kept))

    def _of_model(self, decided: DecidedRows) -> Bool:
        return np.asarray(pc.equal(decided.records.column("model"), self._range.model))

    def _of_version(self, decided: DecidedRows) -> Bool:
        coded = decided.records.column("model_version").dictionary_encode()
        for version in coded.dictionary.to_pylist():
            if version not in self._same:
                self._same[version] = self._range.same(version)
        same = np.array([self._same[each] for each in coded.dictionary.to_pylist()], np.bool_)
        return same[np.asarray(coded.indices, np.int64)] if len(same) else np.zeros(0, np.bool_)

    def _add(self, decided: DecidedRows, features: Float64) -> None:
        resolved, state = self._settled(decided)
        inside = decided.blocked & (decided.propensity < 1)
        unlabelled = decided.blocked & (resolved.state == NO_LABEL)
        unknown = (state == UNKNOWN) & ~inside & ~unlabelled
        plain = (state == GENUINE) & ~decided.through & ~inside & ~unlabelled
        out = plain & ~sampled(decided.records.column("transaction_id"), self._range.sample)
        self.left_out["blocked"] += int(np.count_nonzero(inside | unlabelled))
        self.left_out["unknown"] += int(np.count_nonzero(unknown))
        self.left_out["sampled"] += int(np.count_nonzero(out))
        kept = np.flatnonzero(~(inside | unlabelled | unknown | out))
        if not len(kept):
            return
        weight = np.where(plain, 1 / self._range.sample, 1.0)
        weight = np.where(decided.through, 1 / decided.propensity, weight)
        decided = decided.take(kept)
        fraud = state[kept] == FRAUD
        self.frauds += int(np.count_nonzero(fraud))
        for version in pc.value_counts(decided.records.column("model_version")).to_pylist():
            self.versions[version["values"]] += version["counts"]
        labelled = resolved.state[kept] != NO_LABEL
        records = decided.records
        own = [
            records.column("transaction_id"), records.column("customer_id"),
            pa.array(decided.event_time), pa.array(resolved.label_time[kept], mask=~labelled),
            records.column("score"), pa.array(decided.outcome), pa.array(fraud),
            pa.array(weight[kept]), pa.array(self._amounts(decided)),
            records.column("model_version"), pa.array(decided.revision),
        ]  # fmt: skip
        columns = [pa.array(np.ascontiguousarray(column)) for column in features[kept].T]
        self._writer.add(pa.RecordBatch.from_arrays([*own, *columns], schema=self._schema))

    def _settled(self, decided: DecidedRows) -> tuple[Resolved, UInt8]:
        """Return what statements say about rows, and uint8[n], what they count as."""
        identity = self._plans.other.label_identity
        match = match_of(decided.records, decided.event_time, identity)
        found = Resolved(
            np.full(len(match), NO_LABEL, np.uint8), np.zeros(len(match), np.int64),
            np.full(len(match), np.nan), np.zeros(len(match), np.int64),
        )  # fmt: skip
        state = np.empty(len(match), np.uint8)
        as_of = self._range.as_of_ms
        for policy, rows in self._by_policy(decided.revision):
            some = self._statements.resolve(
                match[rows], decided.event_time[rows], np.full(len(rows), as_of), policy
            )
            found.state[rows], found.label_time[rows] = some.state, some.label_time
            age = as_of - decided.event_time[rows]
            settled = policy.settle(some.state, decided.blocked[rows], age, risk=False)
            # Also without a policy: it was stated that it is not known.
            stated = (some.state == UNKNOWN) | (some.state == DISPUTED)
            state[rows] = np.where(stated, np.uint8(UNKNOWN), settled)
        return found, state

    def _by_policy(self, revision: Int64) -> Sequence[tuple[LabelPolicy, Int64]]:
        """Return each policy, and the rows that were decided under it."""
        found: dict[LabelPolicy, list[Int64]] = {}
        for number in np.unique(revision).tolist():
            if number not in self._policies:
                table = read_label_policy(self._plans.of(number).label_policy)
                self._policies[number] = LabelPolicy.of(table)
            found.setdefault(self._policies[number], []).append(np.flatnonzero(revision == number))
        return [(policy, np.concatenate(rows)) for policy, rows in found.items()]

    def _amounts(self, decided: DecidedRows) -> Int64:
        """Return int64[n], amounts in minor units of the base currency."""
        amount = _int64(decided, "amount_minor").copy()
        for number in np.unique(decided.revision).tolist():
            plan = self._plans.of(number)
            if plan.mapping is None or not plan.mapping.rates:
                continue
            rows = np.flatnonzero(decided.revision == number)
            rates = rates_of(plan.mapping.rates, plan.currencies)
            currency = decided.records.column("currency").take(pa.array(rows))
            amount[rows], _ = base_minor(rates, amount[rows], currency, decided.event_time[rows])
        return amount

    def close(self) -> Sequence[dict[str, str | int]]:
        """Write what is left; return name, rows and digest of each part."""
        self._writer.close()
        return [
            {"name": part.name, "rows": part.rows, "sha256": part.sha256}
            for part in self._writer.parts
        ]

    def abandon(self) -> None:
        """Close files after an error."""
        self._writer.abandon()


def _int64(decided: DecidedRows, name: str) -> Int64:
    return np.asarray(decided.records.column(name).cast(pa.int64()), np.int64)


def empty_folder(path: Path) -> Path:
    """Return a folder, which is made if it does not exist.

    Raises:
        SettingsError: It is not an empty folder, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise SettingsError(f"dataset {path}: the folder is not empty", "name another: --out")
    except OSError as error:
        raise SettingsError(
            f"dataset {path}: {error.strerror}", "name another folder: --out"
        ) from error
    return path
