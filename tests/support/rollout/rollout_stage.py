"""A rollout's topics in memory: decisions, shadow scores, summaries and labels in one order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.decision.routing import CANARY as CANARY_ARM
from stream_scorer.core.decision.routing import CONTROL, Routing, salted_buckets
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.models.bundles.bundle import Manifest, read_manifest
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rollout.controller.batches import Numbers
from stream_scorer.rollout.controller.columns import EvidenceColumns
from stream_scorer.rollout.plan.fold_commands import Log
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY
from tests.support.rollout.scene import CANARY, CONTROLLER_KEY, Writer

FILES = FileRegistry(SCHEMAS_DIRECTORY)
PARTITIONS = 2
NUMBERS = Numbers(
    ("decisions", "shadow-scores", "summaries", "labels"), (PARTITIONS, PARTITIONS, 1, PARTITIONS)
)
_FIRST = {"decisions": 0, "shadow-scores": 2, "summaries": 4, "labels": 5}
_DAY = 86_400_000
OLD, NEW = "fraud:1.0.0", "fraud:1.1.0"


def _codec(name: str, topic: str) -> RecordCodec:
    text = reader_schema(name)
    return RecordCodec(FILES.id_for(f"{topic}-value", text), text)


CODECS = {
    "decisions": _codec("decision.v2", "decisions"),
    "shadow-scores": _codec("shadow-score.v1", "shadow-scores"),
    "summaries": _codec("summary.v2", "summaries"),
    "labels": _codec("label.v1", "labels"),
}


@cache
def manifest_of(label: str) -> Manifest:
    name, _, version = label.partition(":")
    return read_manifest(MODELS_DIRECTORY / name / version)


def columns() -> EvidenceColumns:
    return EvidenceColumns(FILES, SCHEMAS_DIRECTORY, lambda: manifest_of)


def buckets(customers: Sequence[str], salt: str) -> list[int]:
    hashes = hashes_of(pa.array(customers, pa.string()))
    return salted_buckets(hashes, salt).tolist()


@cache
def _bucket(customer: str, salt: str) -> int:
    return buckets([customer], salt)[0]


def arm_of(routing: Routing, customer: str) -> str:
    bucket = _bucket(customer, routing.salt)
    return next(s.arm for s in routing.slices if s.first <= bucket < s.end)


@dataclass
class Commands:
    """The control log as a list in memory."""

    writer: Writer

    @property
    def log(self) -> Log:
        return self.writer.log

    @property
    def routing(self) -> Routing:
        found = self.writer.log.state.routing
        assert found is not None
        return found

    def refresh(self) -> RolloutState:
        return self.writer.log.state


def rollout(
    ramp: Sequence[tuple[float, int]] = ((25.0, 0), (50.0, 0), (100.0, 0)),
    shared: dict[str, Any] | None = None,
    **guard: Any,
) -> Commands:
    """Return the log of a canary: a plan, its controller's key, and its guard."""
    rules = {"first_look": 40, "least_events": 20, "maturity_seconds": 3_600, **guard}
    writer = Writer()
    entry = writer.start(
        CANARY,
        versions={"champion": OLD, "canary": NEW},
        ramp=[{"percent": percent, "least_seconds": seconds} for percent, seconds in ramp],
        guard=rules,
        controller={"key": CONTROLLER_KEY},
        **({} if shared is None else {"shared": shared}),
    )
    assert entry.accepted, entry.refused
    return Commands(writer)


@dataclass
class Topics:
    """Records one after another, in the order in which they were made."""

    routing: Routing
    rows: list[tuple[str, int, bytes | None, int, Headers]] = field(default_factory=list)
    _sources: int = 0

    def put(
        self, topic: str, partition: int, value: dict[str, Any] | bytes | None, timestamp: int,
        headers: Headers = None,
    ) -> None:  # fmt: skip
        data = CODECS[topic].encode(value) if isinstance(value, dict) else value
        self.rows.append((topic, partition, data, timestamp, headers))

    def decision(
        self, transaction: str, customer: str, time: int, *, outcome: str = "APPROVE",
        amount: float = 10.0, score: float = 0.5, timestamp: int | None = None, **changed: Any,
    ) -> None:  # fmt: skip
        """Put the decision that the routing's arm makes for a customer."""
        arm = arm_of(self.routing, customer)
        version = self.routing.versions[arm]
        decided_by = changed.get("model_version", version.version)
        specs = manifest_of(f"{version.name}:{decided_by}").features
        features = np.zeros(len(specs))
        features[[spec.get("field") == "amount" for spec in specs].index(True)] = amount
        self._sources += 1
        known = {
            "transaction_id": transaction, "customer_id": customer, "terminal_id": "t",
            "event_time": time, "decided_at": time, "score": score, "decision": outcome,
            "reasons": [], "flags": [], "model": version.name, "model_version": version.version,
            "arm": arm, "plan_revision": self.routing.revision,
            "propensity": self.routing.share(arm), "engine": 1,
            "features": features.astype("<f8").tobytes(), "terminal_watermark": None,
            "source_topic": "transactions", "source_partition": 0,
            "source_offset": self._sources,
        }  # fmt: skip
        partition = len(customer) % PARTITIONS
        self.put(
            "decisions", partition, {**known, **changed}, time if timestamp is None else timestamp
        )

    def shadow_score(
        self, transaction: str, customer: str, time: int, *, outcome: str, decided: str,
        amount_minor: int = 1_000, **changed: Any,
    ) -> None:  # fmt: skip
        known = {
            "source_topic": "transactions", "source_partition": 0, "source_offset": self._sources,
            "transaction_id": transaction, "customer_id": customer, "terminal_id": "t",
            "event_time": time, "amount_minor": amount_minor, "currency": "EUR",
            "arm": "canary", "model": "fraud", "model_version": "1.1.0", "score": 0.5,
            "decision": outcome, "champion_score": 0.5, "champion_decision": decided,
            "plan_revision": self.routing.revision, "failed": False,
        }  # fmt: skip
        self.put("shadow-scores", len(customer) % PARTITIONS, {**known, **changed}, time)

    def label(
        self, transaction: str, customer: str, time: int, *, fraud: bool, known: int | None = None,
        timestamp: int = 0,
    ) -> None:  # fmt: skip
        value = {
            "transaction_id": transaction, "customer_id": customer, "terminal_id": "t",
            "event_time": time, "is_fraud": fraud, "label_time": known, "source": None,
        }  # fmt: skip
        self.put("labels", len(customer) % PARTITIONS, value, timestamp)

    def summary(
        self, arm: str, count: int, time: int, seconds: dict[str, float], *, last: bool
    ) -> None:
        window = {
            "partition": 0, "start": 0, "width_ms": 1, "count": count, "review": 0, "block": 0,
            "score_sum": 0.0, "amount_minor_sum": 0, "amount_minor_min": 0, "amount_minor_max": 0,
            "score_bins": [0] * 10, "amount_bins": [count, 0, 0],
        }  # fmt: skip
        sources = [{"partition": 0, "first_offset": 0, "next_offset": 1, "watermark": 0}]
        value = {
            "model": "fraud", "model_version": "1.0.0", "arm": arm,
            "plan_revision": self.routing.revision, "records": count if last else 0,
            "rejected": {}, "flagged": {}, "sources": sources if last else [],
            "windows": [window],
        }  # fmt: skip
        own = {"score": seconds[f"score:{arm}"]} if f"score:{arm}" in seconds else {}
        seconds = {**own, **seconds}
        headers: Headers = [
            (f"seconds.{stage}", f"{each:.6f}".encode()) for stage, each in seconds.items()
        ]
        self.put("summaries", 0, value, time, headers or None)

    def raw(self, begin: int = 0, end: int | None = None) -> RawRecords:
        """Return records from ``begin`` up to ``end`` as the merged source hands them out."""
        rows = self.rows[begin:end]
        number = [_FIRST[topic] + partition for topic, partition, *_ in rows]
        headers = [each for *_, each in rows]
        return RawRecords(
            BytesColumn.of(value for _, _, value, _, _ in rows),
            BytesColumn.nulls(len(rows)),
            headers if any(headers) else None,
            np.array(number, np.int32),
            np.arange(begin, begin + len(rows)),
            np.array([timestamp for *_, timestamp, _ in rows], np.int64),
        )


def customers(routing: Routing, arm: str, count: int) -> list[str]:
    """Return ``count`` customers that a routing puts into an arm, of the first thousand."""
    (held,) = (s for s in routing.slices if s.arm == arm)
    pool = [str(number) for number in range(1, 1_001)]
    where = buckets(pool, routing.salt)
    found = [each for each, at in zip(pool, where, strict=True) if held.first <= at < held.end]
    assert len(found) >= count
    return found[:count]


def louder(topics: Topics, factor: int, first: int = 0, *, every: int = 0) -> Topics:
    """Put decisions of both arms, of which the canary's are alerts ``factor`` times as often.

    One in ``every`` decisions is a fraud, by a label that comes with it; 0: no labels.
    """
    people = {arm: customers(topics.routing, arm, 80) for arm in (CANARY_ARM, CONTROL)}
    for turn in range(first, first + 40):
        for at, pair in enumerate(zip(*people.values(), strict=True)):
            for arm, name in zip(people, pair, strict=True):
                alert = (at + turn) % 20 < (factor if arm == CANARY_ARM else 1)
                time = _DAY + turn * 600_000 + at
                outcome = "REVIEW" if alert else "APPROVE"
                topics.decision(f"{arm}{turn}-{at}", name, time, outcome=outcome)
                if every:
                    fraud = (at + turn) % every == 0
                    topics.label(f"{arm}{turn}-{at}", name, time, fraud=fraud, timestamp=time)
        for arm in people:
            stages = {f"score:{each}": 0.001 for each in people}
            topics.summary(arm, 80, _DAY + turn * 600_000, stages, last=arm == CONTROL)
    return topics
