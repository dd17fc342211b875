"""``edge report``: what devices decided in a time, and where the scorer would have differed.

A decision of a device and the score of its shadow ``central`` are found by their transaction's
place in the input. Both are in the topics for as long as these are kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.decisions import DecisionDecoder
from stream_scorer.codec.records.record import OWN_SIZES
from stream_scorer.core.decision.decide_batch import CENTRAL_ARM
from stream_scorer.core.decision.given_rows import EDGE_ARM
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.dead_letters.format import DETAIL, REASON, TIMESTAMP
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.reading.topic_follower import RECORDS_WITH_HEADERS, TopicFollower
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE, Headers, RawRecords
from stream_scorer.registry.sources import narrowed, open_registry, reader_schema
from stream_scorer.settings import Settings

_STEP_SECONDS: Final = 0.05
_DECISION: Final = (
    "arm", "source_partition", "source_offset", "decision", "flags", "event_time", "decided_at",
    "amount_minor", "currency",
)  # fmt: skip
"""Fields of a decision that are read."""
_SHADOW: Final = ("arm", "source_partition", "source_offset", "decision", "failed")
_UNKNOWN: Final = "unknown"
_DETAIL_MOST: Final = 40


@dataclass(slots=True)
class _Decided:
    device: str
    outcome: str
    currency: str
    amount: int


@dataclass(slots=True)
class _Tally:
    """The counts of devices' decisions."""

    events: int = 0
    late: int = 0
    degraded: int = 0
    repeated: int = 0
    oldest_ms: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    decided: dict[tuple[int, int], _Decided] = field(default_factory=dict)
    rows: set[tuple[str, str]] = field(default_factory=set)
    by_device: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def edge_report(
    settings: Settings, since_ms: int, until_ms: int, device: str = ""
) -> dict[str, Any]:
    """Return what devices decided, by the times at which their decisions were published.

    Args:
        settings: The cluster and the registry.
        since_ms: Beginning of the time, ms since the epoch.
        until_ms: Its end, not in it.
        device: Only this one; empty: all.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: The broker or the registry does not answer.
    """
    registry, topics = open_registry(settings.registry), settings.kafka.topics
    tally = _Tally()
    decisions = DecisionDecoder(registry, settings.registry.directory)
    for raw in _records(settings, topics.decisions, since_ms, until_ms):
        _add_decisions(tally, _of_devices(raw), decisions, device)
    for raw in _records(settings, topics.dead_letters, since_ms, until_ms):
        _add_letters(tally, raw, device)
    agreed, failed, missing = 0, 0, set(tally.decided)
    differed: dict[str, dict[str, Any]] = {}
    schema = reader_schema("shadow-score.v2", settings.registry.directory)
    shadows = ColumnDecoder(
        registry, narrowed(schema, _SHADOW.__contains__), OWN_SIZES, same_name=True
    )
    for raw in _records(settings, topics.shadow_scores, since_ms, None):
        for place, central, lost in _central(_of_devices(raw), shadows):
            decided = tally.decided.get(place)
            if decided is None or place not in missing:
                continue
            missing.discard(place)
            failed += lost
            if lost:
                continue
            agreed += central == decided.outcome
            if central != decided.outcome:
                _differ(differed, tally, decided, central)
    return {
        "events": tally.events, "late": tally.late, "degraded": tally.degraded,
        "refused": dict(sorted(tally.refused.items())), "repeated": tally.repeated,
        "central_failed": failed, "without_central": len(missing), "agreed": agreed,
        "differed": dict(sorted(differed.items())),
        "oldest_delay_seconds": tally.oldest_ms / 1_000,
        "by_device": {name: dict(told) for name, told in sorted(tally.by_device.items())},
    }  # fmt: skip


def _differ(
    differed: dict[str, dict[str, Any]], tally: _Tally, decided: _Decided, central: str
) -> None:
    told = differed.setdefault(
        f"{decided.outcome}→{central}", {"events": 0, "amount_minor": Counter()}
    )
    told["events"] += 1
    told["amount_minor"][decided.currency] += decided.amount
    tally.by_device[decided.device]["differed"] += 1


def _records(
    settings: Settings, topic: str, since_ms: int, until_ms: int | None
) -> Iterator[RawRecords]:
    """Yield the records of a topic that it has now, by their Kafka timestamps."""
    follower = TopicFollower(settings.kafka, topic, "edge-report", since_ms)
    try:
        follower.mark_end(stable=False)
        while follower.left:
            raw = follower.poll_to_end(RECORDS_WITH_HEADERS, _STEP_SECONDS)
            if raw is None:
                continue
            inside = raw.timestamp >= since_ms
            if until_ms is not None:
                inside &= raw.timestamp < until_ms
            if inside.any():
                yield raw.where(inside)
    finally:
        follower.close()


def _of_devices(raw: RawRecords) -> RawRecords:
    """Return the records that name a device."""
    told = raw.headers if raw.headers is not None else [None] * len(raw)
    named = [any(name == EDGE_DEVICE for name, _ in headers or ()) for headers in told]
    return raw.where(np.array(named, np.bool_))


def _rows(
    raw: RawRecords, decoder: ColumnDecoder | DecisionDecoder, arm: str, names: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the records of an arm, each with its row."""
    decoded = read_patiently(partial(decoder.decode, raw.values))
    found = decoded.records.select(names).to_pylist()
    for row, record in zip(decoded.rows.tolist(), found, strict=True):
        if record["arm"] == arm:
            yield row, record


def _named(headers: Headers) -> tuple[str, str]:
    """Return the device and the sequence number that headers name."""
    told = dict(headers or ())
    return tuple(  # type: ignore[return-value]
        (told.get(name) or b"").decode("ascii", "replace") for name in (EDGE_DEVICE, EDGE_SEQUENCE)
    )


def _add_decisions(tally: _Tally, raw: RawRecords, decoder: DecisionDecoder, only: str) -> None:
    for row, told in _rows(raw, decoder, EDGE_ARM, _DECISION) if len(raw) else ():
        device, sequence = _named(raw.headers[row] if raw.headers is not None else None)
        if only and device != only:
            continue
        if (device, sequence) in tally.rows:
            tally.repeated += 1
            continue
        tally.rows.add((device, sequence))
        place = told["source_partition"], told["source_offset"]
        tally.decided[place] = _Decided(
            device, told["decision"], told["currency"] or "", told["amount_minor"] or 0
        )
        tally.events += 1
        tally.late += "late" in told["flags"]
        tally.degraded += "degraded" in told["flags"]
        delay = told["decided_at"] - told["event_time"]
        tally.oldest_ms = max(tally.oldest_ms, round(delay.total_seconds() * 1_000))
        tally.by_device[device].update(
            {"events": 1, "late": int("late" in told["flags"]), told["decision"]: 1}
        )


def _add_letters(tally: _Tally, raw: RawRecords, only: str) -> None:
    for row in range(len(raw)):
        headers = raw.headers[row] if raw.headers is not None else None
        told = dict(headers or ())
        if told.get(REASON) != RejectReason.EDGE.encode() or TIMESTAMP not in told:
            continue
        device, _ = _named(headers)
        if only and device != only:
            continue
        detail = (told.get(DETAIL) or b"").decode("utf-8", "replace").split(":")[0][:_DETAIL_MOST]
        tally.refused[detail] += 1
        tally.by_device[device or _UNKNOWN]["refused"] += 1


def _central(
    raw: RawRecords, decoder: ColumnDecoder
) -> Iterator[tuple[tuple[int, int], str, bool]]:
    for _, told in _rows(raw, decoder, CENTRAL_ARM, _SHADOW) if len(raw) else ():
        place = told["source_partition"], told["source_offset"]
        yield place, told["decision"], bool(told["failed"])
