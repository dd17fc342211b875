"""A scorer publishes what devices decided, once each, and refuses what no operator allowed."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.dead_letters.format import parse
from stream_scorer.edge.operator.report import edge_report
from stream_scorer.kafka.client.kernels import BATCH_HEADER_BYTES_MOST
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator
from tests.support.edge.published import Delivery, rows_in
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import feed, transactions
from tests.support.way_back.records import (
    OUTCOMES,
    count_of,
    decoded,
    of_device,
    publish,
)

pytestmark = pytest.mark.kafka

DECISION = RecordCodec(19, reader_schema("decision.v3"))
SHADOW = RecordCodec(21, reader_schema("shadow-score.v2"))


@pytest.fixture
def operator(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Operator:
    return Operator(kafka_topics(kafka_settings()), Ed25519PrivateKey.generate())


def test_devices_decisions_are_published_once(operator: Operator, tmp_path: Path) -> None:
    kafka, topics = operator.kafka, operator.kafka.topics
    good = [record for record in transactions() if not record.bad][:604]
    device, forger, gone = MadeDevice("till-1"), MadeDevice("till-2"), MadeDevice("till-3")
    operator.register(device, gone)
    mine = of_device(operator, device, good[1:600:2])
    # The stream is days further when the device is back, so most of its rows are late.
    feed(kafka, tuple(good[:600:2]))
    publish(operator, device, mine)
    # Nobody has registered it; and one that was revoked after its second row.
    publish(operator, forger, of_device(operator, forger, good[1:6:2]))
    with operator.writer() as writer:
        writer.revoke(gone.name, 2, "lost")
    publish(operator, gone, of_device(operator, gone, good[600:]))
    variables = operator.variables(scorer={"edge": "accept"})
    expected = 600 + 3 + 4
    with ScorerProcess(
        kafka, tmp_path / "log", "--from", "earliest", variables=variables
    ) as scorer:
        wait_until(
            lambda: count_of(kafka, topics.decisions, topics.dead_letters) >= expected,
            lambda: scorer.said,
        )
        accepted = "stream_scorer_edge_accepted_total"
        wait_until(lambda: scorer.metric(accepted) == 302, lambda: scorer.said)
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
    assert report["late"] > 100
    only = edge_report(operator.settings, 0, 2**53, "till-3")
    assert (only["events"], only["refused"]) == (2, {"revoked": 2})


def test_a_scorer_that_does_not_accept_devices_refuses_all(
    operator: Operator, tmp_path: Path
) -> None:
    kafka, topics = operator.kafka, operator.kafka.topics
    good = [record for record in transactions() if not record.bad][:20]
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


def test_no_amount_of_rows_hides_who_decided_them(operator: Operator, tmp_path: Path) -> None:
    # Their headers are more than a poll reads. Those of the last rows must be read later: without
    # them, a row that nobody may send would be a transaction like any other.
    kafka, topics = operator.kafka, operator.kafka.topics
    records = [record for record in transactions() if not record.bad]
    device, forger = MadeDevice("till-1"), MadeDevice("till-2")
    operator.register(device)
    size = 16_000
    count = BATCH_HEADER_BYTES_MOST // size + 1_400
    forged = of_device(operator, forger, (2 * records)[:count], features=bytes(size))
    assert len(forged) == count
    publish(operator, forger, forged)
    publish(operator, device, of_device(operator, device, records[:300]))
    variables = operator.variables(scorer={"edge": "accept"})
    with ScorerProcess(
        kafka, tmp_path / "log", "--from", "earliest", variables=variables
    ) as scorer:
        wait_until(
            lambda: count_of(kafka, topics.decisions, topics.dead_letters) >= count + 300,
            lambda: scorer.said,
        )
        scorer.stop(30)
    refused = [parse(message) for message in read_all(kafka, topics.dead_letters)]
    assert Counter(letter.detail for letter in refused) == {"unknown_device": count}
    assert {d["arm"] for d, _ in decoded(kafka, topics.decisions, DECISION)} == {"edge"}
    assert Delivery.of(rows_in(kafka, topics.decisions), device.name, 300) == Delivery(0, 0)
