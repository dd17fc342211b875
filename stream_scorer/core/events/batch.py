"""The core's input and output as columns: batches of events, rejections, decisions.

The enums have the values of the Avro schemas, so they are in the same order.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag, StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.read_only import read_only
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.mapping.mapping import BASE_AMOUNT

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class Outcome(IntEnum):
    """What is decided for a transaction, in the order of the Avro enum."""

    APPROVE = 0
    REVIEW = 1
    BLOCK = 2


class Flag(IntFlag):
    """What a reader must know in addition to a decision; records have the lower-case names."""

    LATE = 1  # past the lateness bound: decided, not added to the customer's ring
    DEGRADED = 2  # decided without everything that the features need
    FALLBACK = 4  # decided by the champion because the routed arm failed
    LATE_DECISION = 8  # published later than the plan's limit after the event's Kafka timestamp
    CAPPED = 16  # the ring was full; its oldest event, possibly this one, was evicted
    LET_THROUGH = 32  # the policy blocks it, and a random draw lets it through
    DRAWN = 64  # drawn at random for review, whatever its score
    EDGE = 128  # decided by a device, offline


NO_OUTCOME: Final = len(Outcome)
"""In place of an outcome: the model failed for the row, so its thresholds give none."""


class RejectReason(StrEnum):
    """Why a record was sent to the dead-letter topic instead of being decided."""

    EMPTY = "EMPTY"  # null or zero-length value
    FRAMING = "FRAMING"  # not Confluent wire format: magic byte or schema id missing
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"  # the registry has no such id
    INCOMPATIBLE_SCHEMA = "INCOMPATIBLE_SCHEMA"  # the writer schema does not resolve to ours
    MALFORMED = "MALFORMED"  # the bytes do not decode with the writer schema
    TRAILING_BYTES = "TRAILING_BYTES"  # bytes are left after the record
    TOO_LARGE = "TOO_LARGE"  # record, string or array over the plan's limits
    MAPPING = "MAPPING"  # a value at a path of events.toml cannot become our field
    ID_EMPTY = "ID_EMPTY"  # transaction, customer or terminal id is empty
    AMOUNT_NEGATIVE = "AMOUNT_NEGATIVE"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    CURRENCY = "CURRENCY"  # not listed in the plan
    TIME_INVALID = "TIME_INVALID"  # before 1970 or beyond what a date can hold
    TIME_AHEAD = "TIME_AHEAD"  # too far ahead of the record's Kafka timestamp
    DUPLICATE = "DUPLICATE"  # its transaction id is already in the customer's ring
    UNREADABLE = "UNREADABLE"  # its record batch is too large to be inflated
    EDGE = "EDGE"  # it claims a device's decision, which is not accepted
    INTERNAL = "INTERNAL"  # the computation fails for it each time: a defect of this program


@dataclass(frozen=True, slots=True)
class EventBatch:
    """n decoded transactions in arrival order.

    Attributes:
        records: n rows with the fields of the transaction schema (``event_time`` is
            timestamp[ms], ids and codes are utf8 strings, ``amount_minor`` is int64).
        partition: int32[n], source partition.
        offset: int64[n], source offset.
        timestamp: int64[n], Kafka timestamp, ms since the epoch.
    """

    records: pa.RecordBatch
    partition: NDArray[np.int32]
    offset: Int64
    timestamp: Int64
    _hashes: dict[str, NDArray[np.uint64]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _numbers: dict[str, Int64] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __len__(self) -> int:
        return int(self.records.num_rows)

    def hashes(self, name: str) -> NDArray[np.uint64]:
        """Return uint64[n], the hashes of a string column; computed once for a batch."""
        if name not in self._hashes:
            self._hashes[name] = hashes_of(self.records.column(name))
        return self._hashes[name]

    def texts(self, name: str) -> NDArray[np.uint64]:
        """Return uint64[n], the hashes of a text or boolean column, 0 for null.

        All are 0 if there is no such column, or if it has another type. A boolean has the hash of
        ``true`` or ``false``.
        """
        place = self.records.schema.get_field_index(name)
        kind = self.records.schema.types[place] if place >= 0 else None
        if kind == pa.bool_():
            column = self.records.column(place)
            found = hashes_of(column.cast(pa.string()))
        elif kind == pa.string():
            column = self.records.column(place)
            found = self.hashes(name)
        else:
            return np.zeros(len(self), np.uint64)
        if column.null_count:
            null = column.is_null().to_numpy(zero_copy_only=False)
            found = np.where(null, np.uint64(0), found)
        return found

    def int64(self, name: str) -> Int64:
        """Return a long or timestamp column without nulls as read-only int64[n], without a copy."""
        found = self._numbers.get(name)
        if found is None:
            column = self.records.column(name)
            values = np.frombuffer(column.buffers()[1], np.int64)
            found = read_only(values[column.offset : column.offset + len(column)])
            self._numbers[name] = found
        return found

    @property
    def amounts(self) -> Int64:
        """int64[n], amounts in minor units of the plan's currency, as rings and features use it."""
        converted = BASE_AMOUNT in self.records.schema.names
        return self.int64(BASE_AMOUNT if converted else "amount_minor")

    def take(self, rows: Int64) -> "EventBatch":
        """Return the given rows as a new batch, in the given order."""
        taken = EventBatch(
            self.records.take(pa.array(rows)), self.partition[rows], self.offset[rows],
            self.timestamp[rows],
        )  # fmt: skip
        taken._hashes.update((name, hashes[rows]) for name, hashes in self._hashes.items())
        return taken


@dataclass(frozen=True, slots=True)
class Rejections:
    """Rows of a batch that are not decided.

    Attributes:
        rows: int64[r], row numbers in the batch in which they were found, ascending.
        reasons: r reasons.
        details: r short texts for the reader of the dead letter, without field values.
    """

    rows: Int64
    reasons: tuple[RejectReason, ...]
    details: tuple[str, ...]

    @classmethod
    def none(cls) -> "Rejections":
        """Return an empty set of rejections."""
        return cls(np.empty(0, np.int64), (), ())

    def __len__(self) -> int:
        return len(self.reasons)


@dataclass(frozen=True, slots=True)
class Explanations:
    """Why the scores of a batch's rows were raised: e contributions, grouped by row.

    Attributes:
        row: int64[e], rows of the batch, ascending; within a row the largest contribution is first.
        feature: int64[e], columns of the features, in manifest order.
        contribution: float64[e], contributions to the raw score; greater than 0.
        names: m names of the features.
        texts: m templates of their texts (``core.features.texts``); empty for none.
    """

    row: Int64
    feature: Int64
    contribution: Float64
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: Int64, count: int) -> "Explanations":
        """Return the explanations of the given rows, numbered by their places in ``rows``.

        Args:
            rows: int64[r], row numbers of the batch, ascending.
            count: Rows of the batch.
        """
        place = np.full(count, -1)
        place[rows] = np.arange(len(rows))
        at = place[self.row]
        kept = at >= 0
        return replace(
            self, row=at[kept], feature=self.feature[kept], contribution=self.contribution[kept]
        )


@dataclass(frozen=True, slots=True)
class DecisionBatch:
    """Decisions for the n rows of ``events``, row for row.

    Attributes:
        events: The decided transactions.
        score: float64[n], probability of fraud.
        outcome: uint8[n], values of :class:`Outcome`.
        flags: uint8[n], bits of :class:`Flag`.
        features: float64[n, m], columns in manifest order.
        reasons: For each row whose outcome is not APPROVE, its reason codes, largest contribution
            first; ``MODEL_ERROR`` for each row for which the model failed.
        model: Name of the deciding model.
        version: Its version.
        arm: Rollout arm.
        plan_revision: Revision of the plan that was active.
        propensity: Probability with which this arm was chosen.
        terminal_watermark: int64[n], ms, newest time of terminal rows that could be used, NEVER for
            none; None if the model uses none.
        model_outcome: uint8[n], the outcome by the model's own thresholds, NO_OUTCOME where it
            failed; None if it equals :attr:`by_policy` in every row.
        policy_revision: Revision of the plan whose policy decided; None: ``plan_revision``.
        explanations: Of the rows in ``reasons`` for which the model did not fail, in the same
            order; None if there are none.
        policy_outcome: uint8[n], the outcome before the draw of let-through; None if it equals
            ``outcome`` in every row. Reasons and explanations are its.
        outcome_propensity: float64[n], probability of ``outcome``, given that of the policy; None
            if it is 1 in every row.
        review_propensity: Probability with which each row was drawn for review, drawn or not.
        engine: Number of the bundle's engine; see ``features.engines``.
    """

    events: EventBatch
    score: Float64
    outcome: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    features: Float64
    reasons: dict[int, tuple[str, ...]]
    model: str
    version: str
    arm: str = "champion"
    plan_revision: int = 0
    propensity: float = 1.0
    terminal_watermark: Int64 | None = None
    model_outcome: NDArray[np.uint8] | None = None
    policy_revision: int | None = None
    explanations: Explanations | None = None
    policy_outcome: NDArray[np.uint8] | None = None
    outcome_propensity: Float64 | None = None
    review_propensity: float = 0.0
    engine: int = 1

    def __len__(self) -> int:
        return len(self.events)

    @property
    def by_policy(self) -> NDArray[np.uint8]:
        """uint8[n], the outcome before the draw of let-through.

        Counts and guards use it, so that exploration never looks like a change of the model.
        """
        return self.outcome if self.policy_outcome is None else self.policy_outcome

    @property
    def chance(self) -> Float64:
        """float64[n], probability of the outcome, given that of the policy."""
        found = self.outcome_propensity
        return np.ones(len(self)) if found is None else found

    @property
    def own_outcome(self) -> NDArray[np.uint8]:
        """uint8[n], the outcome by the model's own thresholds; NO_OUTCOME where it failed."""
        return self.by_policy if self.model_outcome is None else self.model_outcome

    @property
    def revision_of_policy(self) -> int:
        """Revision of the plan whose policy decided."""
        return self.plan_revision if self.policy_revision is None else self.policy_revision

    def take(self, rows: Int64) -> "DecisionBatch":
        """Return the given rows, ascending, as a new batch."""
        watermark, own = self.terminal_watermark, self.model_outcome
        why, policy, chance = self.explanations, self.policy_outcome, self.outcome_propensity
        return replace(
            self,
            events=self.events.take(rows),
            score=self.score[rows],
            outcome=self.outcome[rows],
            flags=self.flags[rows],
            features=self.features[rows],
            reasons={
                at: self.reasons[row] for at, row in enumerate(rows.tolist()) if row in self.reasons
            },
            terminal_watermark=None if watermark is None else watermark[rows],
            model_outcome=None if own is None else own[rows],
            explanations=None if why is None else why.take(rows, len(self)),
            policy_outcome=None if policy is None else policy[rows],
            outcome_propensity=None if chance is None else chance[rows],
        )
