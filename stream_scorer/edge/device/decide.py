"""Decides one record with the core, exactly as a scorer decides a batch of one."""

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.decision.decide_batch import DecidedBatch, decide_alone
from stream_scorer.core.events.batch import (
    NO_OUTCOME,
    DecisionBatch,
    EventBatch,
    Flag,
    Outcome,
)
from stream_scorer.core.rings.rings import Journal, RingColumns
from stream_scorer.edge.claims.contract import EdgeDecision
from stream_scorer.edge.device.history import PARTITION, DeviceHistory
from stream_scorer.edge.device.release import DeviceRelease
from stream_scorer.ports import BytesColumn, RawRecords

SKIPPED: Final = "SKIPPED"
_SKIPPED_DETAIL: Final = "[record] where of events.toml does not choose it"
_FLAGS: Final = int(Flag.DEGRADED | Flag.CAPPED)


class Encoded(Protocol):
    """A request's record as a producer would send it."""

    @property
    def value(self) -> bytes:
        """The record's value."""
        ...

    @property
    def digest(self) -> bytes:
        """Hash of the request, 16 bytes: a repeat has the same."""
        ...

    def key(self, customer: str) -> bytes:
        """Return the record's key.

        Args:
            customer: Its customer, as the mapping reads it.

        Raises:
            ValueError: The key cannot hold the customer; the message states why.
        """
        ...


class RecordRejected(Exception):  # noqa: N818 an answer, not a failure
    """A record is not a valid transaction.

    Attributes:
        reason: A value of ``RejectReason``, or ``SKIPPED``.
        detail: A sentence, without a value of the record.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record that could be decoded; the rings do not have it yet.

    Attributes:
        events: The transaction, one row.
        customer: Its customer.
        transaction_id: Its id.
    """

    events: EventBatch
    customer: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class DecidedRecord:
    """A decided transaction, which the rings have.

    Attributes:
        decision: What is signed.
        columns: What the rings were given, one row.
        journal: The change of the rings; None if they did not change.
    """

    decision: EdgeDecision
    columns: RingColumns
    journal: Journal | None


class RecordDecider:
    """Reads and decides records under a release. Not thread-safe.

    Args:
        release: The bundle, the plan and the schemas.
        history: The rings; they change.
    """

    def __init__(self, release: DeviceRelease, history: DeviceHistory) -> None:
        self._release = release
        self._history = history
        decoders = EventDecoders(release.schemas, release.schemas.directory)
        self._decoder = decoders.of(release.plan)
        self._looks_back = release.model.features.need.window_ms > 0

    def read(self, value: bytes, now: int) -> ReadRecord:
        """Decode a record.

        Args:
            value: Its value.
            now: In place of the Kafka timestamp, ms since the epoch.

        Raises:
            RecordRejected: It cannot be decoded, or is not a transaction.
        """
        raw = RawRecords(
            BytesColumn.of([value]), BytesColumn.nulls(1), None,
            np.full(1, PARTITION, np.int32), np.zeros(1, np.int64), np.full(1, now, np.int64),
        )  # fmt: skip
        events, rows, undecodable = self._decoder.decode(raw)
        if len(undecodable):
            raise RecordRejected(undecodable.reasons[0], undecodable.details[0])
        if not len(rows):
            raise RecordRejected(SKIPPED, _SKIPPED_DETAIL)
        customer, transaction = (
            str(events.records.column(name)[0].as_py())
            for name in ("customer_id", "transaction_id")
        )
        return ReadRecord(events, customer, transaction)

    def decide(self, record: ReadRecord, now: int) -> DecidedRecord:
        """Decide a record, and add it to the rings.

        Raises:
            ModelFailure: The model failed, and the plan does not allow that; nothing has changed.
            RecordRejected: It is not a valid transaction; nothing has changed.
        """
        release, rings = self._release, self._history.rings
        made = decide_alone(
            record.events, rings, release.model, release.plan, terminals=release.terminals
        )
        journal = made.journals.get(PARTITION)
        if len(made.rejections):
            rings.undo(made.journals)
            raise RecordRejected(made.rejections.reasons[0], made.rejections.details[0])
        kept = release.model.features.engine.kept(record.events)
        columns = RingColumns.of(record.events, kept)
        return DecidedRecord(self._decision(record, made, columns, now), columns, journal)

    def _decision(
        self, record: ReadRecord, made: DecidedBatch, columns: RingColumns, now: int
    ) -> EdgeDecision:
        release, decisions = self._release, made.decided[0].decisions
        manifest = release.bundle.manifest
        own = int(decisions.own_outcome[0])
        flags = int(decisions.flags[0]) & _FLAGS
        cold = self._history.cold
        time = int(columns.event_time[0])
        if self._looks_back and cold.concerns(int(columns.customer[0]), time):
            flags |= Flag.DEGRADED
        times = decisions.terminal_watermark
        watermark = -1 if times is None else int(times[0])
        return EdgeDecision(
            transaction_id=record.transaction_id,
            model=manifest.name,
            version=manifest.version,
            content_hash=release.content_hash,
            engine=manifest.engine,
            plan_sha256=release.plan_sha256,
            plan_revision=release.plan.revision,
            margin=math.nan if own == NO_OUTCOME else self._margin(decisions),
            score=float(decisions.score[0]),
            outcome=Outcome(int(decisions.outcome[0])),
            model_outcome=None if own == NO_OUTCOME else Outcome(own),
            flags=int(flags),
            reasons=decisions.reasons.get(0, ()),
            features=decisions.features[0].astype("<f8").tobytes(),
            terminal_watermark=watermark if watermark >= 0 else None,
            decided_at=now,
        )

    def _margin(self, decisions: DecisionBatch) -> float:
        features = np.ascontiguousarray(decisions.features)
        return float(self._release.model.predictor.raw(features)[0])
