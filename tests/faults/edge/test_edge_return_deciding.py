"""A scorer publishes what devices decided, once each, and refuses what no operator allowed."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import Outcome
from stream_scorer.dead_letters.format import parse
from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.operator.report import edge_report
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, producer_maker
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator, decision_by
from tests.support.edge.published import Delivery, rows_in
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import Record, feed, transaction_codec, transactions

pytestmark = pytest.mark.kafka

FILES = FileRegistry(SCHEMAS_DIRECTORY)
DECISION = RecordCodec(19, reader_schema("decision.v3"))
SHADOW = RecordCodec(21, reader_schema("shadow-score.v2"))
OUTCOMES = (Outcome.APPROVE, Outcome.REVIEW, Outcome.BLOCK)


@pytest.fixture
def operator(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Operator:
    return Operator(kafka_topics(kafka_settings()), Ed25519PrivateKey.generate())


def publish(operator: Operator, device: MadeDevice, rows: list[EdgeRow]) -> None:
    """Publish rows as a gateway does, which judges no signature."""
    progress = ProgressTopic(operator.settings, FILES)
    with closing(progress), closing(
        EdgePublisher(
            operator.kafka.topics.transactions, progress,
            producer_maker(operator.kafka, lambda _: None),
        )
    ) as publisher:  # fmt: skip
        publisher.publish(device.name, rows)


def of_device(
    operator: Operator, device: MadeDevice, records: list[Record], **changes: Any
) -> list[EdgeRow]:
    """Return a device's rows for transactions, with outcomes in turn."""
    manifest, codec = operator.manifest(), transaction_codec()
    rows = []
    for number, record in enumerate(records):
        id_ = codec.decode(record.value, FILES)["transaction_id"]
        decision = decision_by(manifest, id_, OUTCOMES[number % 3], **changes)
        rows.append(device.row(record.value or b"", decision, record.key))
    return rows


def decoded(kafka: Kafka, topic: str, codec: RecordCodec) -> list[tuple[dict[str, Any], Any]]:
    return [
        (codec.decode(message.value(), FILES), dict(message.headers() or ()))
        for message in read_all(kafka, topic)
    ]


def count_of(kafka: Kafka, *topics: str) -> int:
    return sum(sum(1 for _ in read_all(kafka, topic)) for topic in topics)


def test_devices_decisions_are_published_once(operator: Operator, tmp_path: Path) -> None:
    kafka, topics = operator.kafka, operator.kafka.topics
    good = [record for record in transactions(days=5, customers=40) if not record.bad][:600]
    device, forger, gone = MadeDevice("till-1"), MadeDevice("till-2"), MadeDevice("till-3")
    operator.register(device, gone)
    mine = of_device(operator, device, good[1::2])
    publish(operator, device, mine)
    feed(kafka, tuple(good[::2]))
    # Nobody has registered it; and one that was revoked after its second row.
    publish(operator, forger, of_device(operator, forger, good[1:6:2]))
    with operator.writer() as writer:
        writer.revoke(gone.name, 2, "lost")
    further = [record for record in transactions(days=5, customers=40) if not record.bad][600:604]
    publish(operator, gone, of_device(operator, gone, further))
    variables = operator.variables(scorer={"edge": "accept"})
    expected = 600 + 3 + 4
    with ScorerProcess(
        kafka, tmp_path / "log", "--from", "earliest", variables=variables
    ) as scorer:
        wait_until(
            lambda: count_of(kafka, topics.decisions, topics.dead_letters) >= expected,
            lambda: scorer.said,
        )
        metric = scorer.metric("stream_scorer_edge_accepted_total")
        refused = {
            why: scorer.metric("stream_scorer_edge_rejected_total", reason=why)
            for why in ("unknown_device", "revoked")
        }
        scorer.stop(30)
    assert count_of(kafka, topics.decisions, topics.dead_letters) == expected
    assert Delivery.of(rows_in(kafka, topics.decisions), device.name, 300) == Delivery(0, 0)
    published = decoded(kafka, topics.decisions, DECISION)
    edge = [(d, h) for d, h in published if "edge" in d["flags"]]
    assert len(edge) == 302
    for decision, headers in edge:
        if headers[EDGE_DEVICE] != b"till-1":
            continue
        number = int(headers[EDGE_SEQUENCE]) - 1
        assert decision["decision"] == OUTCOMES[number % 3].name
        assert (decision["arm"], decision["score"]) == ("edge", 0.75)
    central = [s for s, _ in decoded(kafka, topics.shadow_scores, SHADOW)]
    assert {s["arm"] for s in central} == {"central"}
    assert len(central) == 302
    letters = [parse(message) for message in read_all(kafka, topics.dead_letters)]
    assert Counter(letter.detail for letter in letters) == {"unknown_device": 3, "revoked": 2}
    assert metric == 302
    assert refused == {"unknown_device": 3, "revoked": 2}
    report = edge_report(operator.settings, 0, 2**53)
    assert (report["events"], report["repeated"], report["without_central"]) == (302, 0, 0)
    assert report["refused"] == {"revoked": 2, "unknown_device": 3}
    differed = Counter(
        f"{s['champion_decision']}→{s['decision']}"
        for s in central
        if s["champion_decision"] != s["decision"]
    )
    assert {k: v["events"] for k, v in report["differed"].items()} == dict(differed)
    assert report["agreed"] == 302 - differed.total()
    assert report["late"] == sum("late" in d["flags"] for d, _ in edge)
    only = edge_report(operator.settings, 0, 2**53, "till-3")
    assert (only["events"], only["refused"]) == (2, {"revoked": 2})


def test_a_scorer_that_does_not_accept_devices_refuses_all(
    operator: Operator, tmp_path: Path
) -> None:
    kafka, topics = operator.kafka, operator.kafka.topics
    good = [record for record in transactions(days=5, customers=40) if not record.bad][:20]
    device = MadeDevice("till-1")
    operator.register(device)
    publish(operator, device, of_device(operator, device, good[:5]))
    feed(kafka, tuple(good[5:]))
    with ScorerProcess(kafka, tmp_path / "log", "--from", "earliest") as scorer:
        wait_until(
            lambda: count_of(kafka, topics.decisions, topics.dead_letters) >= 20,
            lambda: scorer.said,
        )
        scorer.stop(30)
    letters = [parse(message) for message in read_all(kafka, topics.dead_letters)]
    assert [(each.reason, each.detail) for each in letters] == [("EDGE", "not accepted")] * 5
    assert count_of(kafka, topics.decisions) == 15
