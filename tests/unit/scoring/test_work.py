import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.codecs import open_codecs
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.records.record_key import KeyReader
from stream_scorer.core.decision.observe import PartitionRings, ValidatedBatch
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import plan_from
from stream_scorer.core.summaries.summary_reading import read_arrivals, read_windows
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.kafka.reading.unreadable_batches import unread
from stream_scorer.kafka.topics.key_sample import KeySample
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.ports import (
    BODY_HEADER,
    CLIENT_HEADER,
    BytesColumn,
    Headers,
    Paused,
    RawRecords,
)
from stream_scorer.registry.sources import FileRegistry, SchemaSource, reader_schema
from stream_scorer.rollout.log.ready_versions import Pinned, Versions
from stream_scorer.scoring.edge_rows import EdgeJudge
from stream_scorer.scoring.held_partitions import HeldPartitions, HeldState, _Restoring
from stream_scorer.scoring.outputs import Outcomes
from stream_scorer.scoring.work import ScoringWork
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY, Settings
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.schedule import Schedule
from stream_scorer.state.partitions.checkpoint_writer import Checkpoints
from stream_scorer.state.partitions.readiness import Warmth
from stream_scorer.state.partitions.rejection_log import RejectionLog
from stream_scorer.state.partitions.restorer import Restoration
from stream_scorer.telemetry import (
    BatchCommitted,
    Event,
    KeyMisplaced,
    KeyOfAnother,
    RecordsSkipped,
)
from tests.support.core.watched import bins_of
from tests.support.rollout.mapped_extras import FIELDS
from tests.support.state.stores import MemoryStore

NOW = 1_522_600_000_000
FILES = FileRegistry(SCHEMAS_DIRECTORY)
TRANSACTION = RecordCodec(1, reader_schema("transaction.v1"))
DECISION = RecordCodec(11, reader_schema("decision.v2"))
SUMMARY = RecordCodec(13, reader_schema("summary.v4"))


OWNER = Owner("g", "transactions")


class Nothing:
    """An input of which nothing is retained."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def low_watermark(self, _: int) -> int:
        return 100

    def partition_count(self) -> int:
        return self.partitions

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 100)


def no_input(*_: int) -> Any:
    raise AssertionError("there is nothing to replay")


def transaction(number: int, **changes: Any) -> bytes:
    return TRANSACTION.encode(
        {
            "transaction_id": f"t{number}", "event_time": NOW - 1_000 + number,
            "customer_id": f"c{number % 3}", "terminal_id": "x", "amount_minor": 1_000,
            "currency": "EUR",
        } | changes
    )  # fmt: skip


def raw(values: list[bytes | None], headers: list[Headers] | None = None) -> RawRecords:
    n = len(values)
    return RawRecords(
        values=BytesColumn.of(values),
        keys=BytesColumn.of(b"key%d" % row for row in range(n)),
        headers=headers,
        partition=np.zeros(n, np.int32),
        offset=np.arange(100, 100 + n, dtype=np.int64),
        timestamp=np.full(n, NOW, np.int64),
    )


def work(
    now: Callable[[], int] = lambda: NOW + 5,
    source: SchemaSource = FILES,
    told: list[Event] | None = None,
    partitions: int = 1,
    versions: Versions | None = None,
    judge: EdgeJudge | None = None,
) -> ScoringWork:
    settings = Settings()
    versions = versions or Pinned(*load_model(settings, Deployment("fraud:1.0.0")))
    heard = told if told is not None else []
    codecs = open_codecs(settings, source)
    rings = PartitionRings(versions.fleet.features)
    state = HeldState(
        rings,
        Restoration("transactions", Nothing(partitions), OWNER, MemoryStore(), rings, no_input),
        Checkpoints(MemoryStore(), OWNER, rings, Schedule(0, 0), heard.append),
        RejectionLog("state", OWNER, lambda _: 0),
        Warmth(heard.append),
    )
    held = HeldPartitions(versions, codecs.transactions, state, heard.append)
    outputs = Outcomes(codecs, settings.kafka.topics, "0")
    sample = KeySample(heard.append, KeyReader(source))
    made = ScoringWork(held, versions, codecs, outputs, sample, heard.append, now, judge)
    made.assigned({0: 100})
    while made.restoring():
        made.restore()
    return made


def decisions(result: Result[Any]) -> list[dict[str, Any]]:
    (outgoing,) = [o for o in result.outgoing if o.topic == "decisions"]
    return [DECISION.decode(value, FILES) for value in outgoing.values if value is not None]


def test_each_record_becomes_a_decision_or_dead_letter_in_order() -> None:
    values = [transaction(0), None, transaction(1, currency="USD"), transaction(2), b"nonsense"]
    result = work().compute(raw(values), Stages())
    assert [(d["transaction_id"], d["source_offset"]) for d in decisions(result)] == [
        ("t0", 100), ("t2", 103),
    ]  # fmt: skip
    (letters,) = [o for o in result.outgoing if o.topic == "transactions.dlq"]
    assert list(letters.values) == [None, values[2], b"nonsense"]
    assert list(letters.keys) == [b"key1", b"key2", b"key4"]
    assert result.delta.rejected == (
        RejectReason.EMPTY, RejectReason.CURRENCY, RejectReason.FRAMING,
    )  # fmt: skip


def test_a_decision_keeps_the_key_and_no_other_headers_than_ours() -> None:
    ours: list[tuple[str, bytes | None]] = [(CLIENT_HEADER, b"shop"), (BODY_HEADER, b"1:00")]
    headers: list[Headers] = [
        [("traceparent", b"00-1"), ("secret", b"x"), ("tracestate", b"a=b")],
        [*ours, ("secret", b"x")],
        [("other", b"")],
    ]  # fmt: skip
    result = work().compute(raw([transaction(i) for i in range(3)], headers), Stages())
    (outgoing,) = [o for o in result.outgoing if o.topic == "decisions"]
    assert outgoing.headers == [[("traceparent", b"00-1"), ("tracestate", b"a=b")], ours, None]
    assert list(outgoing.keys) == [b"key0", b"key1", b"key2"]


def test_a_decision_keeps_8_kib_of_trace_headers() -> None:
    kept: Headers = [("traceparent", b"00-1"), ("tracestate", b"a=b")]
    large: Headers = [("baggage", bytes(8_192)), *(kept or ()), ("b3", bytes(8_192 - 28 - 1))]
    result = work().compute(raw([transaction(0)], [large]), Stages())
    assert result.outgoing[0].headers == [kept]
    fits: Headers = [*(kept or ()), ("b3", bytes(8_192 - 28 - 2))]
    assert sum(len(name) + len(value or b"") for name, value in fits or ()) == 8_192
    result = work().compute(raw([transaction(0)], [fits]), Stages())
    assert result.outgoing[0].headers == [fits]


def test_no_headers_where_none_is_traced() -> None:
    result = work().compute(raw([transaction(0)], [[("other", b"x")]]), Stages())
    assert result.outgoing[0].headers is None


def test_a_decision_past_the_limit_is_flagged() -> None:
    on_time = decisions(work(lambda: NOW + 60_000).compute(raw([transaction(0)]), Stages()))
    too_late = decisions(work(lambda: NOW + 60_001).compute(raw([transaction(0)]), Stages()))
    assert on_time[0]["flags"] == []
    assert too_late[0]["flags"] == ["late_decision"]


def test_the_summary_is_a_pure_function_of_the_batch() -> None:
    def summary(now: int) -> bytes | None:
        result = work(lambda: now).compute(raw([transaction(0), None]), Stages())
        (outgoing,) = [o for o in result.outgoing if o.topic == "summaries"]
        return outgoing.values[0]

    assert summary(NOW) == summary(NOW + 7)
    read = SUMMARY.decode(summary(NOW), FILES)
    assert (read["records"], read["rejected"]) == (2, {"EMPTY": 1})
    assert [(s["first_offset"], s["next_offset"]) for s in read["sources"]] == [(100, 102)]
    assert sum(window["count"] for window in read["windows"]) == 1


def test_the_summary_counts_by_reference_and_segment() -> None:
    model, plan = load_model(Settings(), Deployment("fraud:1.0.0"))
    bins = bins_of(len(model.features.names))
    plan = replace(plan, segments={"amount": [10.0, 11.0], "channel": ["POS"]})
    scoring = work(versions=Pinned(replace(model, bins=bins), plan))
    late = NOW - plan.lateness_ms - 5_000
    values = [
        transaction(0), transaction(3, event_time=late, amount_minor=0), None,
        transaction(0), transaction(6, amount_minor=1_100, channel="POS"),
    ]  # fmt: skip
    result = scoring.compute(raw(values), Stages())
    (outgoing,) = [o for o in result.outgoing if o.topic == "summaries"]
    read = SUMMARY.decode(outgoing.values[0], FILES)
    names = ["amount<10", "amount<11", "amount>=11", "channel=POS", "channel=other"]
    assert (read["reference"], read["segments"]) == (bins.digest, names)
    windows = list(read_windows(read, int(bins.first_cell[-1])))
    amount = bins.first_cell[2]
    counts = np.sum([window.counts for window in windows], axis=0)
    # Amounts of 0, 1,000 and 1,100, in bins of 1,000.
    assert counts[:, amount : amount + 3].tolist() == [
        [2, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [2, 0, 0],
    ]  # fmt: skip
    assert [window.late for window in windows] == [0, 1]
    (arrival,) = read_arrivals(read)
    assert (arrival.records, arrival.late) == (5, 1)
    assert arrival.rejected == {"EMPTY": 1, "DUPLICATE": 1}
    assert arrival.start == NOW // plan.summary_window_ms * plan.summary_window_ms


def test_an_undone_batch_computed_again_gives_the_same_result() -> None:
    scoring = work()
    batch = raw([transaction(i) for i in range(20)])
    first = scoring.compute(batch, Stages())
    scoring.undo(first)
    second = scoring.compute(batch, Stages())
    assert decisions(first) == decisions(second)
    assert [d["features"] for d in decisions(second)] == [d["features"] for d in decisions(first)]


def test_a_failure_while_encoding_leaves_the_rings_as_they_were() -> None:
    scoring = work()

    def fail(stage: str) -> None:
        if stage == "summarize":
            raise RuntimeError(stage)

    with pytest.raises(RuntimeError):
        scoring.compute(raw([transaction(0)]), Stages(fail))
    assert list(scoring.rings.of(0).events()) == []


def test_a_registry_outage_pauses_and_rejects_nothing() -> None:
    class Down(FileRegistry):
        def writer_schema(self, schema_id: int) -> str:
            raise RegistryUnavailableError(f"schema id {schema_id}: registry down")

    with pytest.raises(Paused) as paused:
        work(source=Down(SCHEMAS_DIRECTORY)).compute(raw([transaction(0)]), Stages())
    assert paused.value.dependency == "registry"


def test_a_committed_batch_is_reported_in_full() -> None:
    scoring = work()
    batch = raw([transaction(0), transaction(0), None])
    stages = Stages()
    result = scoring.compute(batch, stages)
    stages.finish()
    told = scoring.keep(result, stages, batch)
    assert isinstance(told, BatchCommitted)
    assert told.records == 3
    assert sum(told.outcomes.values()) == 1
    assert told.rejected == {"DUPLICATE": 1, "EMPTY": 1}
    assert told.next_offsets == {0: 103}
    assert len(told.age_seconds) == 1
    assert {"decode", "validate", "features", "score", "decide", "encode"} <= set(
        told.stage_seconds
    )


def test_misplaced_keys_are_sampled() -> None:
    told: list[Event] = []
    scoring = work(told=told, partitions=8)
    for number in range(64):
        batch = raw([transaction(number)])
        scoring.keep(scoring.compute(batch, Stages()), Stages(), batch)
    wrong = partition_of(b"key0", 8) != 0
    assert [h for h in told if isinstance(h, KeyMisplaced)] == [KeyMisplaced(64, 64 * wrong)]
    assert [h for h in told if isinstance(h, KeyOfAnother)] == [KeyOfAnother(64, 64)]


def test_keys_that_give_the_customer_are_as_they_should_be() -> None:
    told: list[Event] = []
    scoring = work(told=told)
    for number in range(128):
        # An unreadable record is not compared.
        batch = replace(
            raw([transaction(number), b"nonsense"]),
            keys=BytesColumn.of([b"c%d" % (number % 3), b"x"]),
        )
        scoring.keep(scoring.compute(batch, Stages()), Stages(), batch)
    assert [h for h in told if isinstance(h, KeyOfAnother)] == [KeyOfAnother(64, 0)] * 2


def test_the_manifest_and_the_decision_agree_on_the_features() -> None:
    settings = Settings()
    manifest = json.loads((settings.models.directory / "fraud/1.0.0/manifest.json").read_text())
    (decision,) = decisions(work().compute(raw([transaction(0)]), Stages()))
    features = np.frombuffer(decision["features"], "<f8")
    assert len(features) == len(manifest["features"])
    assert features[0] == 10.0


def rings_of(scoring: ScoringWork) -> list[Any]:
    return [
        (key, times.tolist(), amounts.tolist(), hashes.tolist())
        for key, times, amounts, hashes in scoring.rings.of(0).events()
    ]


def test_quarantined_records_are_rejected_unread_as_malformed() -> None:
    values = [transaction(0), None, transaction(1), transaction(2), transaction(0)]
    scoring, other = work(), work()
    result = scoring.compute(raw(values), Stages(), {0: "ValueError at a.py:1", 2: "KeyError"})
    expected = other.compute(raw([b"x", None, b"x", transaction(2), transaction(0)]), Stages())
    assert [d["source_offset"] for d in decisions(result)] == [103, 104]
    assert decisions(result) == decisions(expected)
    assert rings_of(scoring) == rings_of(other)
    (letters,) = [o for o in result.outgoing if o.topic == "transactions.dlq"]
    assert list(letters.values) == [values[0], None, values[2]]
    assert letters.headers is not None
    told = [dict(headers or ()) for headers in letters.headers]
    assert [(each["dlq.reason"], each["dlq.detail"]) for each in told] == [
        (b"INTERNAL", b"ValueError at a.py:1"), (b"EMPTY", b"no value"), (b"INTERNAL", b"KeyError"),
    ]  # fmt: skip
    assert result.delta.rejected == (
        RejectReason.INTERNAL, RejectReason.EMPTY, RejectReason.INTERNAL,
    )  # fmt: skip


def test_a_batch_of_which_all_is_quarantined_decides_nothing() -> None:
    scoring = work()
    result = scoring.compute(raw([transaction(0)]), Stages(), {0: "x"})
    assert [o.topic for o in result.outgoing] == ["transactions.dlq", "summaries", "state"]
    assert rings_of(scoring) == []


def test_what_cannot_be_inflated_is_rejected_and_noted() -> None:
    scoring = work()
    batch = RawRecords.join([raw([transaction(0), None]), unread(0, 102, 104)])
    result = scoring.compute(batch, Stages())
    assert [d["source_offset"] for d in decisions(result)] == [100]
    (letters,) = [o for o in result.outgoing if o.topic == "transactions.dlq"]
    assert list(letters.values) == [None] * 3
    assert list(letters.keys) == [b"key1", None, None]
    assert letters.headers is not None
    told = [dict(headers or ()) for headers in letters.headers]
    assert [each["dlq.reason"] for each in told] == [b"EMPTY", b"UNREADABLE", b"UNREADABLE"]
    assert [each["dlq.source.offset"] for each in told] == [b"101", b"102", b"103"]
    assert b"receive.message.max.bytes" in (told[1]["dlq.detail"] or b"")
    reasons = (RejectReason.EMPTY, RejectReason.UNREADABLE, RejectReason.UNREADABLE)
    assert result.delta.rejected == reasons
    assert [o.topic for o in result.outgoing].count("state") == 1


def test_a_failure_in_a_later_partition_undoes_the_earlier_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scoring = work(partitions=2)
    scoring.assigned({1: 100})
    while scoring.restoring():
        scoring.restore()
    both = raw([transaction(0), transaction(1)])
    both.partition[1] = 1
    real = ValidatedBatch.fold

    def fail(batch: ValidatedBatch, rings: Any, rows: Any, *others: Any) -> Any:
        if both.partition[rows[0]] == 1:
            raise ValueError("poison")
        return real(batch, rings, rows, *others)

    monkeypatch.setattr(ValidatedBatch, "fold", fail)
    with pytest.raises(ValueError, match="poison"):
        scoring.compute(both, Stages())
    assert rings_of(scoring) == []
    monkeypatch.undo()
    assert len(decisions(scoring.compute(both, Stages()))) == 2


def test_a_segment_by_an_extra_field_decides() -> None:
    plan = plan_from(
        {
            "events": {
                "record": {"format": "json"},
                "fields": FIELDS | {"terminal_id": {"constant": "x"}},
                "extra": {"vip": {"path": "vip", "type": "boolean"}},
            },
            "policy": {
                "default": {"review": 1, "block": 1},
                "segment": [{"when": {"vip": True}, "review": 1e-300, "block": 1e-300}],
            },
        }
    )
    model = load_bundle(MODELS_DIRECTORY / "fraud" / "1.0.0").model(plan)
    common = {"ts": NOW, "card": "c", "sum": 100}
    values: list[bytes | None] = [
        json.dumps(common | {"id": f"t{n}", "vip": n % 2 == 0}).encode() for n in range(4)
    ]
    made = decisions(work(versions=Pinned(model, plan)).compute(raw(values), Stages()))
    assert [each["decision"] for each in made] == ["BLOCK", "APPROVE", "BLOCK", "APPROVE"]


def test_a_replay_reports_records_whose_schema_is_gone() -> None:
    heard: list[Event] = []
    scoring = work(told=heard)
    held = scoring._held
    held._restoring[0] = _Restoring(SimpleNamespace(restored=None))  # type: ignore[arg-type]
    gone = b"\0" + (77).to_bytes(4, "big")
    del heard[:]
    held._refold(raw([transaction(0), gone + b"1", b"nonsense", transaction(1), gone + b"2"]))
    (told,) = heard
    assert isinstance(told, RecordsSkipped)
    assert (told.topic, told.records, told.partition, told.offset) == ("transactions", 2, 0, 101)
    assert told.why.startswith("schema id 77: not in ")
    assert len(rings_of(scoring)) == 2
