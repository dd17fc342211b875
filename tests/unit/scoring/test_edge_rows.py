"""Devices' rows in a scorer's batch: published as decided, or refused, which is the default."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import Outcome
from stream_scorer.edge.claims.headers import headers_of
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.loop.work_interface import Deferred, Result, Stages
from stream_scorer.ports import (
    EDGE_DEVICE,
    EDGE_HEADERS,
    EDGE_SEQUENCE,
    EDGE_SIGNATURE,
    Headers,
    Paused,
    RawRecords,
)
from stream_scorer.registry.sources import reader_schema
from stream_scorer.scoring.edge_rows import NOT_ACCEPTED, EdgeJudge
from stream_scorer.telemetry import EdgeRowsJudged, Event
from tests.support.edge.devices import Allowed, MadeDevice, decision_of
from tests.unit.scoring.test_work import FILES, NOW, raw, transaction, work

DECISION = RecordCodec(19, reader_schema("decision.v3"))
SHADOW = RecordCodec(21, reader_schema("shadow-score.v2"))


def stages() -> Stages:
    return Stages()


def batch_of(device: MadeDevice, count: int = 6) -> RawRecords:
    """Return transactions of which every second one is a row of the device."""
    values: list[bytes | None] = []
    headers: list[Headers] = []
    for n in range(count):
        value = transaction(n)
        values.append(value)
        if n % 2:
            row = device.row(value, decision_of(f"t{n}"), b"key%d" % n)
            headers.append(headers_of(device.name, row))
        else:
            headers.append([("traceparent", b"00-1-2-01")])
    return raw(values, headers)


def of_topic(
    result: Result[Any], topic: str, codec: RecordCodec
) -> list[tuple[Any, dict[str, bytes]]]:
    found = []
    for outgoing in result.outgoing:
        if outgoing.topic != topic:
            continue
        headers = outgoing.headers or [None] * len(outgoing.values)
        for value, told in zip(outgoing.values, headers, strict=True):
            found.append((codec.decode(value, FILES), {k: v or b"" for k, v in told or ()}))
    return found


def letters(result: Result[Any]) -> list[dict[str, bytes]]:
    return [
        {k: v or b"" for k, v in told or ()}
        for outgoing in result.outgoing
        if outgoing.topic == "transactions.dlq"
        for told in outgoing.headers or ()
    ]


def test_a_devices_decision_is_published_as_it_is() -> None:
    device, told = MadeDevice(), list[Event]()
    judge = EdgeJudge(Allowed({device.name: device.allowed()}))
    made = work(told=told, judge=judge)
    records = batch_of(device)
    result = made.compute(records, stages())
    found = of_topic(result, "decisions", DECISION)
    assert [d["transaction_id"] for d, _ in found] == [f"t{n}" for n in range(6)]
    for n, (decision, headers) in enumerate(found):
        if n % 2 == 0:
            assert (decision["arm"], decision["flags"]) == ("champion", [])
            assert headers == {"traceparent": b"00-1-2-01"}
            continue
        assert (decision["arm"], decision["flags"]) == ("edge", ["edge"])
        assert (decision["model"], decision["model_version"]) == ("fraud", "9.0.0")
        assert (decision["score"], decision["decision"]) == (0.875, "REVIEW")
        assert (decision["model_outcome"], decision["engine"]) == ("BLOCK", 3)
        assert decision["reasons"] == ["amount", "night"]
        assert np.frombuffer(decision["features"], "<f8")[:2].tolist() == [1.5, -0.0]
        assert decision["plan_revision"] == found[0][0]["plan_revision"]
        assert headers == {EDGE_DEVICE: b"till-17", EDGE_SEQUENCE: b"%d" % (n // 2 + 1)}
    central = of_topic(result, "shadow-scores", SHADOW)
    assert [s["transaction_id"] for s, _ in central] == ["t1", "t3", "t5"]
    for shadow, headers in central:
        assert (shadow["arm"], shadow["champion_decision"]) == ("central", "REVIEW")
        assert shadow["champion_score"] == 0.875
        assert set(headers) == {EDGE_DEVICE, EDGE_SEQUENCE}
    assert not letters(result)
    made.keep(result, stages(), records)
    (judged,) = [e for e in told if isinstance(e, EdgeRowsJudged)]
    differed = Counter(("REVIEW", s["decision"]) for s, _ in central)
    del differed["REVIEW", "REVIEW"]
    assert (judged.accepted, judged.refused, judged.differed) == (3, {}, dict(differed))


def test_a_device_changes_no_other_decision_and_no_history() -> None:
    device = MadeDevice()
    accepting = work(judge=EdgeJudge(Allowed({device.name: device.allowed()})))
    plain = work()
    records = batch_of(device)
    with_device = accepting.compute(records, stages())
    bare = plain.compute(replace(records, headers=None), stages())
    ours = of_topic(with_device, "decisions", DECISION)
    theirs = of_topic(bare, "decisions", DECISION)
    assert [d for d, _ in ours[::2]] == [d for d, _ in theirs[::2]]
    # The champion's score of a device's row is what it would have been.
    central = [s["score"] for s, _ in of_topic(with_device, "shadow-scores", SHADOW)]
    assert central == [d["score"] for d, _ in theirs[1::2]]
    further = raw([transaction(n) for n in range(6, 9)])
    further = replace(further, offset=further.offset + 6)
    accepting.keep(with_device, stages(), records)
    plain.keep(bare, stages(), records)
    last = [
        of_topic(w.compute(further, stages()), "decisions", DECISION) for w in (accepting, plain)
    ]
    assert last[0] == last[1]


def test_by_default_every_device_is_refused() -> None:
    device, told = MadeDevice(), list[Event]()
    made = work(told=told)
    records = batch_of(device)
    result = made.compute(records, stages())
    assert len(of_topic(result, "decisions", DECISION)) == 3
    refused = letters(result)
    assert [(h["dlq.reason"], h["dlq.detail"]) for h in refused] == [(b"EDGE", b"not accepted")] * 3
    # A dead letter has all of it, for a replay.
    assert all(set(EDGE_HEADERS) < set(h) for h in refused)
    made.keep(result, stages(), records)
    (judged,) = [e for e in told if isinstance(e, EdgeRowsJudged)]
    assert (judged.accepted, judged.refused) == (0, {NOT_ACCEPTED: 3})


@pytest.mark.parametrize(
    ("detail", "allowed", "change"),
    [
        ("unknown_device", lambda _: Allowed(), None),
        ("revoked", lambda d: Allowed({d.name: d.allowed(revoked_after=1)}), None),
        ("release", lambda d: Allowed({d.name: d.allowed()}, {}), None),
        ("scope", lambda d: Allowed({d.name: d.allowed(customers=frozenset({1}))}), None),
        (
            "signature", lambda d: Allowed({d.name: d.allowed()}),
            lambda h: [(k, bytes(64) if k == EDGE_SIGNATURE else v) for k, v in h],
        ),
        ("malformed", lambda d: Allowed({d.name: d.allowed()}), lambda h: h[1:]),
    ],
)  # fmt: skip
def test_each_refusal_has_its_detail(detail: str, allowed: Any, change: Any) -> None:
    device = MadeDevice()
    records = batch_of(device)
    headers: list[Headers] = list(records.headers or ())
    if change is not None:
        headers[3] = change(headers[3])
    made = work(judge=EdgeJudge(allowed(device)))
    result = made.compute(replace(records, headers=headers), stages())
    refused = letters(result)
    details = {h["dlq.detail"].split(b":")[0] for h in refused}
    assert details == {detail.encode()}
    wanted = {"signature": 1, "malformed": 1, "revoked": 2}.get(detail, 3)
    assert len(refused) == wanted
    assert len(of_topic(result, "decisions", DECISION)) == 6 - wanted


def test_the_decision_of_another_transaction_is_not_folded() -> None:
    device = MadeDevice()
    value = transaction(1)
    row = device.row(value, decision_of("t2"), b"key0")
    made = work(judge=EdgeJudge(Allowed({device.name: device.allowed()})))
    records = raw([value, value], [headers_of(device.name, row), None])
    result = made.compute(records, stages())
    (letter,) = letters(result)
    assert (letter["dlq.reason"], letter["dlq.detail"]) == (b"EDGE", b"transaction")
    # Had it been folded, the second one would be its duplicate.
    (decision,) = of_topic(result, "decisions", DECISION)
    assert decision[0]["arm"] == "champion"


def test_a_registry_that_is_away_pauses_and_refuses_nothing() -> None:
    device = MadeDevice()

    class Gone(Allowed):
        def follow(self) -> None:
            raise UnavailableError("topic edge-registry: gone")

    made = work(judge=EdgeJudge(Gone()))
    with pytest.raises(Paused, match="gone") as caught:
        made.compute(batch_of(device), stages())
    assert caught.value.dependency == "edge registry"
    # A batch without a device does not ask.
    plain = made.compute(raw([transaction(1)]), stages())
    assert len(of_topic(plain, "decisions", DECISION)) == 1


@pytest.mark.parametrize(("size", "others"), [(8_185, {"baggage"}), (8_186, set())])
def test_other_headers_cannot_displace_those_of_a_device(size: int, others: set[str]) -> None:
    device = MadeDevice()
    value = transaction(1)
    row = device.row(value, decision_of("t1"), b"key0")
    headers: Headers = [("baggage", b"x" * size), *headers_of(device.name, row)]
    made = work(judge=EdgeJudge(Allowed({device.name: device.allowed()})))
    result = made.compute(raw([value], [headers]), stages())
    ((decision, kept),) = of_topic(result, "decisions", DECISION)
    assert decision["decision"] == Outcome.REVIEW.name
    assert set(kept) == {EDGE_DEVICE, EDGE_SEQUENCE} | others
    assert decision["event_time"].timestamp() * 1_000 == NOW - 999


def _without_headers(records: RawRecords, *rows: int) -> RawRecords:
    """Return records of which a poll left out the headers of some."""
    headers = [None if row in rows else each for row, each in enumerate(records.headers or ())]
    headless = np.isin(np.arange(len(records)), rows)
    return replace(records, headers=headers, headless=headless)


def test_records_without_their_headers_are_read_again() -> None:
    # Row 3 is the device's: without its headers, the champion would decide it.
    device = MadeDevice()
    made = work(judge=EdgeJudge(Allowed({device.name: device.allowed()})))
    records = batch_of(device)
    result = made.compute(_without_headers(records, 3, 5), stages(), {2: "failed", 4: "failed"})
    assert result.ends == {0: 103}
    found = of_topic(result, "decisions", DECISION)
    assert [(d["transaction_id"], d["arm"]) for d, _ in found] == [
        ("t0", "champion"),
        ("t1", "edge"),
    ]
    assert [reason.value for reason in result.delta.rejected] == ["INTERNAL"]
    made.keep(result, stages(), records.between(0, 3))
    again = made.compute(records.take(np.arange(3, 6)), stages())
    assert again.ends is None
    found = of_topic(again, "decisions", DECISION)
    assert [(d["transaction_id"], d["arm"]) for d, _ in found] == [
        ("t3", "edge"), ("t4", "champion"), ("t5", "edge"),
    ]  # fmt: skip


def test_a_partition_without_any_headers_is_left_for_later() -> None:
    device = MadeDevice()
    made = work(judge=EdgeJudge(Allowed({device.name: device.allowed()})))
    with pytest.raises(Deferred) as caught:
        made.compute(_without_headers(batch_of(device), *range(6)), stages())
    assert caught.value.partitions == {0}
