"""A scorer refuses each row that is not what an operator allowed, under its own reason."""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import Outcome
from stream_scorer.dead_letters.format import parse
from stream_scorer.edge.claims.chain import signed_row
from stream_scorer.edge.claims.contract import EdgeRow
from stream_scorer.edge.claims.decision_record import encode_decision
from stream_scorer.edge.claims.headers import headers_of
from stream_scorer.edge.operator.registrations import DeviceScope
from stream_scorer.edge.operator.report import edge_report
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE, Headers
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka
from tests.support.edge.devices import MadeDevice
from tests.support.edge.operators import Operator, decision_by
from tests.support.edge.published import Delivery, rows_in
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import Record, feed, transactions
from tests.support.way_back.records import (
    OUTCOMES,
    count_of,
    decoded,
    id_of,
    named,
    of_device,
    produce,
)

pytestmark = pytest.mark.kafka

DECISION = RecordCodec(19, reader_schema("decision.v3"))
GOOD = 12
NOT_A_NUMBER = struct.pack("<d", float("nan"))
Sent = tuple[EdgeRow, Headers]


def flipped(data: bytes) -> bytes:
    """Return bytes with another last bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


class Attacks:
    """Rows of which none may be accepted, of transactions that are used once each.

    Args:
        operator: Its release is registered.
        mine: A device that is registered.
        records: The transactions.
    """

    def __init__(self, operator: Operator, mine: MadeDevice, records: Sequence[Record]) -> None:
        self._operator, self._mine, self._left = operator, mine, list(records)
        self.wanted: Counter[str] = Counter()

    def row(self, device: MadeDevice, **changes: object) -> EdgeRow:
        """Return the next row of a device."""
        (row,) = of_device(self._operator, device, [self._left.pop()], **changes)
        return row

    def _sent(self, detail: str, *sent: Sent) -> Sequence[Sent]:
        self.wanted[detail] += len(sent)
        return sent

    def signatures(self, other: MadeDevice) -> Sequence[Sent]:
        """Return rows that their device has not signed so."""
        mine = self._mine
        thief = MadeDevice(mine.name, other.key, mine.sequence, mine.chain)
        stolen, row = self.row(thief), self.row(mine)
        another = encode_decision(
            decision_by(self._operator.manifest(), "another", Outcome.APPROVE)
        )
        changed = (
            replace(row, signature=flipped(row.signature)),
            replace(row, sequence=row.sequence + 1),
            replace(row, key=row.key + b"x"),
            replace(row, value=self._left.pop().value or b""),
            replace(row, previous=flipped(row.previous)),
            replace(row, decision=another),
        )
        return self._sent(
            "signature",
            # Signed with the key of another device; and another device's row under this name.
            (stolen, headers_of(mine.name, stolen)),
            *((each, headers_of(mine.name, each)) for each in changed),
            (row, headers_of(other.name, row)),
        )

    def malformed(self) -> Sequence[Sent]:
        """Return rows whose headers are not those of one."""
        mine = self._mine
        row = self.row(mine)
        plain = encode_decision(
            decision_by(self._operator.manifest(), id_of(self._left[-1]), Outcome.BLOCK)
        )
        last = self._left.pop()
        failed = plain.replace(struct.pack("<d", 0.75), NOT_A_NUMBER)
        assert failed != plain
        no_score, mine.chain = signed_row(
            mine.name, mine.sequence + 1, last.key, last.value or b"", failed, mine.chain, mine.key
        )
        mine.sequence += 1
        told = list(headers_of(mine.name, row))
        return self._sent(
            "malformed",
            (row, told[1:]),
            (row, [*told, (EDGE_DEVICE, b"till-1")]),
            (row, [*told, (EDGE_SEQUENCE, b"1")]),
            (row, named(mine.name, row, edge_digest=bytes(32))),
            (row, named(mine.name, row, edge_sequence=b"0")),
            (row, named(mine.name, row, edge_decision=bytes(200_000))),
            (no_score, headers_of(mine.name, no_score)),
        )

    def not_allowed(self, gone: MadeDevice, narrow: MadeDevice) -> Sequence[Sent]:
        """Return well-signed rows that are not allowed: of nobody, of a revoked device, and more.

        Args:
            gone: Was revoked before its first row.
            narrow: May decide for other customers only.
        """
        nobody = MadeDevice("till-99")
        mine = self._mine
        record = self._left.pop()
        other = mine.row(
            record.value or b"", decision_by(self._operator.manifest(), "another", OUTCOMES[0]),
            record.key,
        )  # fmt: skip
        found: list[Sent] = []
        for detail, device, row in (
            ("unknown_device", nobody, self.row(nobody)),
            ("revoked", gone, self.row(gone)),
            ("scope", narrow, self.row(narrow)),
            ("release", mine, self.row(mine, version="9.9.9")),
            ("release", mine, self.row(mine, engine=7)),
            ("release", mine, self.row(mine, content_hash=bytes(32))),
            ("release", mine, self.row(mine, features=bytes(8))),
            ("transaction", mine, other),
        ):
            found += self._sent(detail, (row, headers_of(device.name, row)))
        return found


def test_each_attack_is_refused_and_counted_for_what_it_is(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    operator = Operator(kafka, Ed25519PrivateKey.generate())
    mine, other, gone, narrow = (MadeDevice(f"till-{n}") for n in range(1, 5))
    operator.register(mine, other, gone)
    operator.register(narrow, scope=DeviceScope(customers=["somebody else"]))
    with operator.writer() as writer:
        writer.revoke(gone.name, 0, "stolen")
    records = [record for record in transactions() if not record.bad][: GOOD + 40]
    good = [(row, headers_of(mine.name, row)) for row in of_device(operator, mine, records[:GOOD])]
    attacks = Attacks(operator, mine, records[GOOD:][::-1])
    bad = [
        *attacks.signatures(other), *attacks.malformed(), *attacks.not_allowed(gone, narrow),
    ]  # fmt: skip
    # In turn, so that good and bad rows are in one batch; and one row is produced once more.
    mixed = [each for pair in zip(good, bad[:GOOD], strict=True) for each in pair] + bad[GOOD:]
    produce(kafka, [*mixed, good[-1]])
    topics, total = kafka.topics, len(mixed) + 1
    variables = operator.variables(scorer={"edge": "accept"})
    with ScorerProcess(
        kafka, tmp_path / "log", "--from", "earliest", variables=variables
    ) as scorer:
        wait_until(
            lambda: count_of(kafka, topics.decisions, topics.dead_letters) >= total,
            lambda: scorer.said,
        )
        wait_until(
            lambda: scorer.metric("stream_scorer_edge_accepted_total") == GOOD,
            lambda: scorer.said,
        )
        counted = {
            why: scorer.metric("stream_scorer_edge_rejected_total", reason=why)
            for why in attacks.wanted
        }
        scorer.stop(30)
    assert counted == dict(attacks.wanted)
    letters = [parse(message) for message in read_all(kafka, topics.dead_letters)]
    edge = Counter(each.detail.split(":")[0] for each in letters if each.reason == "EDGE")
    assert edge == attacks.wanted
    # A row that is produced again is the same transaction again.
    assert [each.reason for each in letters if each.reason != "EDGE"] == ["DUPLICATE"]
    told = decoded(kafka, topics.decisions, DECISION)
    assert sorted(int(headers[EDGE_SEQUENCE]) for _, headers in told) == list(range(1, GOOD + 1))
    for decision, headers in told:
        assert decision["decision"] == OUTCOMES[(int(headers[EDGE_SEQUENCE]) - 1) % 3].name
        assert decision["arm"] == "edge"
    report = edge_report(operator.settings, 0, 2**53)
    assert (report["events"], report["refused"]) == (GOOD, dict(sorted(attacks.wanted.items())))


def test_a_copied_record_is_a_duplicate_or_is_counted(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    operator, device = Operator(kafka, Ed25519PrivateKey.generate()), MadeDevice("till-1")
    operator.register(device)
    good = [record for record in transactions() if not record.bad][:600]
    rows = of_device(operator, device, good[1:600:2])
    feed(kafka, tuple(good[:600:2]))
    sent = [(row, headers_of(device.name, row)) for row in rows]
    produce(kafka, [*sent, *sent])
    topics, total = kafka.topics, 300 + 2 * len(sent)
    variables = operator.variables(scorer={"edge": "accept"})
    with ScorerProcess(
        kafka, tmp_path / "log", "--from", "earliest", variables=variables
    ) as scorer:
        wait_until(
            lambda: count_of(kafka, topics.decisions, topics.dead_letters) >= total,
            lambda: scorer.said,
        )
        scorer.stop(30)
    letters = Counter(parse(m).reason for m in read_all(kafka, topics.dead_letters))
    delivery = Delivery.of(rows_in(kafka, topics.decisions), device.name, len(rows))
    assert set(letters) == {"DUPLICATE"}
    assert delivery == Delivery(0, len(rows) - letters["DUPLICATE"])
    # Late rows are in no history, so their copies are decided again, as before; they are counted.
    assert delivery.duplicates > 0
    outcomes: dict[bytes, set[str]] = {}
    for decision, headers in decoded(kafka, topics.decisions, DECISION):
        if EDGE_SEQUENCE in headers:
            outcomes.setdefault(headers[EDGE_SEQUENCE], set()).add(decision["decision"])
    assert {len(each) for each in outcomes.values()} == {1}
    report = edge_report(operator.settings, 0, 2**53)
    assert (report["events"], report["repeated"]) == (len(rows), delivery.duplicates)
