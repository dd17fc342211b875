"""Which records are copied, under which key, and which are not."""

from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.reading.mapped import open_decoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.dead_letters.format import REASON
from stream_scorer.errors import OffsetsError, RegistryUnavailableError, SettingsError
from stream_scorer.kafka.loop.work_interface import Result, Stages
from stream_scorer.ports import BytesColumn, Headers, Outgoing, Paused, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.rekeying.process import refuse_same
from stream_scorer.rekeying.work import REKEYED_FROM, Rekeyed, RekeyRoute, RekeyWork
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.codec.foreign_events import EVENTS

FILES = FileRegistry(SCHEMAS_DIRECTORY)
TRANSACTION = RecordCodec(1, reader_schema("transaction.v1"))
FLAT = """
[record]
format = "json"
[fields]
transaction_id = "id"
event_time = {path = "at", unit = "ms"}
customer_id = "who"
amount = {path = "sum", unit = "minor"}
currency = "iso"
"""
ROUTE = RekeyRoute("payments", 2, "keyed", "letters", "7")
NOW = 1_700_000_000_000


def transaction(customer: str) -> bytes:
    return TRANSACTION.encode(
        {
            "transaction_id": "t", "event_time": NOW, "customer_id": customer, "terminal_id": "x",
            "amount_minor": 1_000, "currency": "EUR",
        }
    )  # fmt: skip


def raw(values: list[bytes | None], headers: list[Headers] | None = None) -> RawRecords:
    n = len(values)
    return RawRecords(
        BytesColumn.of(values), BytesColumn.of(b"pk%d" % row for row in range(n)), headers,
        np.arange(n, dtype=np.int32) % 2, np.arange(50, 50 + n), np.arange(NOW, NOW + n),
    )  # fmt: skip


def work(plan: Plan | None = None) -> RekeyWork:
    return RekeyWork(ROUTE, open_decoder(FILES, plan or Plan()))


def to(result: Result[Rekeyed], topic: str) -> Outgoing:
    (found,) = [outgoing for outgoing in result.outgoing if outgoing.topic == topic]
    return found


def reasons(letters: Outgoing) -> list[Any]:
    return [dict(each or ())[REASON] for each in letters.headers or ()]


def test_a_copy_keeps_all_but_its_key() -> None:
    values: list[bytes | None] = [transaction("c1"), transaction("\u00e9" * 9), transaction("c1")]
    theirs: list[Headers] = [[("a", b"1"), ("a", None)], None, [(REKEYED_FROM, b"x:0:1")]]
    batch = raw(values, theirs)
    result = work().compute(batch, Stages())
    copies = to(result, "keyed")
    assert list(copies.values) == values
    assert list(copies.keys) == [b"c1", ("\u00e9" * 9).encode(), b"c1"]
    assert copies.timestamps is not None
    assert copies.timestamps.tolist() == batch.timestamp.tolist()
    assert copies.partition is None
    assert copies.headers == [
        [("a", b"1"), ("a", None), (REKEYED_FROM, b"payments:0:50")],
        [(REKEYED_FROM, b"payments:1:51")],
        [(REKEYED_FROM, b"x:0:1"), (REKEYED_FROM, b"payments:0:52")],
    ]
    assert len(result.outgoing) == 1
    # Each batch commits all partitions, so that no partition can restart from its beginning while
    # others continue.
    assert result.notes == {0: b"1 keyed", 1: b"1 keyed"}


def test_records_without_a_customer_are_dead_letters() -> None:
    values = [None, transaction(""), transaction("c2"), b"nonsense", transaction("c3")[:-8]]
    batch = raw(values)
    result = work().compute(batch, Stages(), {2: "ValueError"})
    letters = to(result, "letters")
    assert reasons(letters) == [b"EMPTY", b"ID_EMPTY", b"INTERNAL", b"FRAMING", b"MALFORMED"]
    assert list(letters.values) == values
    assert list(letters.keys) == [b"pk0", b"pk1", b"pk2", b"pk3", b"pk4"]
    assert len(result.outgoing) == 1
    told = work().keep(result, Stages(), batch)
    assert sum(told.rejected.values()) == told.records == 5
    assert told.next_offsets == {0: 55, 1: 54}
    assert told.skipped == 0


def test_a_copy_too_large_for_a_topic_is_a_dead_letter() -> None:
    mapped = parse_events(FLAT)
    large = Plan(record_bytes_max=2_000_000, events=mapped)

    def paid(customer: str, size: int) -> bytes:
        start = f'{{"id": "t", "at": {NOW}, "who": "{customer}", "sum": 1, "iso": "EUR", "more": "'
        return start.encode() + b"x" * (size - len(start) - 2) + b'"}'

    header = len(REKEYED_FROM) + len(b"payments:0:50") + 10
    fits = 1_000_000 - 64 - len("c1") - header
    values: list[bytes | None] = [paid("c1", fits), paid("c1", fits + 1), paid("c22", 200)]
    theirs: list[Headers] = [None, None, [("h", bytes(999_900))]]
    batch = raw(values, theirs)
    result = work(large).compute(batch, Stages())
    assert list(to(result, "keyed").values) == values[:1]
    letters = to(result, "letters")
    assert reasons(letters) == [b"TOO_LARGE", b"TOO_LARGE"]
    assert sum(work().keep(result, Stages(), batch).rejected.values()) == 2
    alone = work(large).compute(raw(values[1:2]), Stages())
    assert [outgoing.topic for outgoing in alone.outgoing] == ["letters"]


def test_what_where_does_not_choose_is_skipped_and_counted() -> None:
    events = parse_events(
        EVENTS.replace("[record]", '[record]\nformat = "json"').replace(
            '"ts"', '{path = "ts", unit = "ms"}'
        )
    )
    made = work(Plan(events=events))
    paid = b'{"op": "c", "ts": 1, "after": {"payment_no": "t", "shopper": {"no": 7}, "till": "x",'
    paid += b'"paid": "1.00", "iso": "EUR", "via": "web"}}'
    batch = raw([b'{"op": "d"}', None, paid])
    result = made.compute(batch, Stages())
    assert list(to(result, "keyed").keys) == [b"7"]
    assert len(result.outgoing) == 1
    assert made.keep(result, Stages(), batch).skipped == 2


def test_a_partition_is_ready_at_once() -> None:
    made = work()
    assert not made.restoring()
    made.assigned({0: 5, 1: 6})
    made.revoked((1,))
    assert made.restoring()
    assert made.restore() == {0}
    assert not made.restoring()


def test_a_registry_out_of_reach_pauses() -> None:
    class Gone(FileRegistry):
        def writer_schema(self, schema_id: int) -> str:
            raise RegistryUnavailableError("registry", f"no answer for {schema_id}")

    made = RekeyWork(ROUTE, open_decoder(Gone(SCHEMAS_DIRECTORY), Plan()))
    with pytest.raises(Paused) as paused:
        made.compute(raw([transaction("c")]), Stages())
    assert paused.value.dependency == "registry"


def test_offsets_of_another_copy_are_refused() -> None:
    ROUTE.check({}, "g")
    ROUTE.check({0: b"1 keyed", 1: b"1 keyed"}, "g")
    for note in (b"1 other", b"", b"2 keyed"):
        with pytest.raises(OffsetsError, match=r"another target .* separate rekey\.group"):
            ROUTE.check({0: b"1 keyed", 1: note}, "g")


@pytest.mark.parametrize(
    ("source", "target", "letters"), [("a", "a", "c"), ("a", "b", "a"), ("a", "b", "b")]
)
def test_a_copy_onto_what_it_reads_is_refused(source: str, target: str, letters: str) -> None:
    refuse_same("a", "b", "c")
    with pytest.raises(SettingsError, match="topic"):
        refuse_same(source, target, letters)
