"""Unknown schema ids: how often a registry is asked, and which records wait for its answers."""

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError, SchemaError
from stream_scorer.ports import BytesColumn
from stream_scorer.registry import http_registry
from stream_scorer.registry.answer_limits import ANSWER_BYTES_MOST
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.lookup_budget import WAIT_EVERY_SECONDS, WAITS, LookupBudget
from stream_scorer.registry.sources import FileRegistry, SchemaSource, look_up, reader_schema
from stream_scorer.registry.unknown_ids import FailingIds, UnknownIds
from stream_scorer.settings import SCHEMAS_DIRECTORY, Registry
from tests.support.registry.fake_registry import LONG, UNKNOWN, Clock, Reply, answering

TRANSACTION = reader_schema("transaction.v1")
RECORD = {
    "transaction_id": "t-1", "event_time": 1_500, "customer_id": "c", "terminal_id": "x",
    "amount_minor": 1234, "currency": "EUR", "channel": "POS", "mcc": None, "country": "DE",
    "card_present": True, "device_id": None,
}  # fmt: skip
VALUE = RecordCodec(1, TRANSACTION).encode(RECORD)
KNOWN: Reply = (200, {"schema": TRANSACTION})
BURST = 32
RESERVED = 8


def framed(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + VALUE[5:]


class Asked:
    """A registry that knows only id 1, and counts requests."""

    def __init__(self, answer: Callable[[int], Reply] = lambda _: UNKNOWN) -> None:
        self.ids: list[int] = []
        self._answer = answer

    def __call__(self, request: BaseHTTPRequestHandler) -> Reply:
        if request.path == "/config":
            return 200, {"compatibilityLevel": "FULL"}
        schema_id = int(request.path.rpartition("/")[2])
        self.ids.append(schema_id)
        return KNOWN if schema_id == 1 else self._answer(schema_id)


class Sleeps:
    """Advances a clock instead of sleeping."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.clock.now += seconds


def test_unknown_ids_of_a_batch_cost_at_most_the_lookup_budget() -> None:
    asked, clock = Asked(), Clock()
    with answering(asked) as url:
        sleeps = Sleeps(clock)
        registry = HttpRegistry(Registry(url=url, lookups_burst=BURST), clock, sleeps)
        decoder = ColumnDecoder(registry, TRANSACTION, Plan())
        values = [framed(1), *(framed(number) for number in range(100, 5_100)), framed(1)]
        decoded = decoder.decode(values, budgeted=True)
        assert decoded.rows.tolist() == [0, 5_001]
        assert set(decoded.rejections.reasons) == {RejectReason.UNKNOWN_SCHEMA}
        # One look-up for each id within the budget, and two more for each id that is waited for.
        assert len(asked.ids) == 1 + (BURST - RESERVED - 1) + RESERVED
        assert "not looked up" in decoded.rejections.details[-1]
        before = len(asked.ids)
        decoder.decode(values, budgeted=True)
        assert len(asked.ids) == before


def test_the_budget_fills_again_at_its_rate() -> None:
    asked, clock = Asked(), Clock()
    with answering(asked) as url:
        registry = HttpRegistry(
            Registry(url=url, lookups_burst=BURST, lookups_per_second=2.0), clock, Sleeps(clock)
        )
        look_up(registry, range(100, 200), budgeted=True)
        before = len(asked.ids)
        clock.now += 10.0
        look_up(registry, range(1_000, 1_100), budgeted=True)
        # There are 20 new tokens; 8 of them are reserved for ids that are waited for.
        assert before < len(asked.ids) <= before + 20 - RESERVED


def test_a_slightly_late_id_is_waited_for_once_a_minute() -> None:
    clock = Clock()
    sleeps = Sleeps(clock)
    answers = {7: 2, 8: 2, 9: 2}

    def late(schema_id: int) -> Reply:
        answers[schema_id] -= 1
        return KNOWN if answers[schema_id] < 0 else UNKNOWN

    asked = Asked(late)
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url, negative_cache_seconds=0), clock, sleeps)
        assert look_up(registry, [7], budgeted=True)[7] == TRANSACTION
        assert asked.ids == [7, 7, 7]
        assert sleeps.seconds == list(WAITS)
        assert isinstance(look_up(registry, [8], budgeted=True)[8], SchemaError)
        assert sleeps.seconds == list(WAITS)
        clock.now += WAIT_EVERY_SECONDS
        assert look_up(registry, [9], budgeted=True)[9] == TRANSACTION
        assert sleeps.seconds == [*WAITS, *WAITS]


def test_a_wait_and_its_look_ups_are_short() -> None:
    assert sum(WAITS) <= 0.5
    assert len(WAITS) + 1 == 3


def test_an_id_with_many_records_is_looked_up_first() -> None:
    asked = Asked(lambda schema_id: KNOWN if schema_id == 50_000 else UNKNOWN)
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url, lookups_burst=2), Clock(), lambda _: None)
        decoder = ColumnDecoder(registry, TRANSACTION, Plan())
        values = [framed(number) for number in range(100, 200)] + [framed(50_000)] * 2
        assert decoder.decode(values, budgeted=True).rows.tolist() == [100, 101]


def test_look_ups_that_succeed_cost_nothing() -> None:
    asked = Asked(lambda _: LONG)
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url, lookups_burst=16), Clock())
        for first in range(100, 150, 5):
            found = look_up(registry, range(first, first + 5), budgeted=True)
            assert set(found.values()) == {'"long"'}


def test_what_was_decided_once_is_decoded_without_a_budget() -> None:
    asked = Asked(lambda _: LONG)
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url, lookups_burst=2), Clock())
        found = look_up(registry, range(100, 150))
    assert set(found.values()) == {'"long"'}


@pytest.mark.parametrize("schema_id", [0, 2**31, 2**32 - 1])
def test_an_id_that_no_registry_gives_is_not_asked_for(schema_id: int) -> None:
    asked = Asked(lambda _: (404, {"error_code": 404, "message": "HTTP 404 Not Found"}))
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url))
        decoder = ColumnDecoder(registry, TRANSACTION, Plan())
        decoded = decoder.decode([framed(schema_id), framed(1)], budgeted=True)
    assert decoded.rejections.reasons == (RejectReason.UNKNOWN_SCHEMA,)
    assert asked.ids == [1]


def test_an_outage_pauses_and_gives_its_tokens_back() -> None:
    replies: dict[str, Reply] = {"answer": (503, b"busy")}
    asked = Asked(lambda _: replies["answer"])
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url, lookups_burst=2), Clock())
        for _ in range(10):
            with pytest.raises(RegistryUnavailableError):
                look_up(registry, [7], budgeted=True)
        replies["answer"] = KNOWN
        assert look_up(registry, [7], budgeted=True)[7] == TRANSACTION


ENDLESS = b'{"schema": "' + b" " * ANSWER_BYTES_MOST + b'"}'


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"error_code": 50001, "message": "store"}),
        (200, b"not JSON"),
        (99, b""),
        (403, {"error_code": 40301, "message": "User is denied operation Read"}),
    ],
    ids=["error", "not JSON", "not HTTP", "forbidden"],
)
def test_a_single_failing_id_pauses_for_seconds_only(answer: Reply) -> None:
    clock = Clock()
    asked = Asked(lambda _: answer)
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url), clock)
        for _ in range(5):
            with pytest.raises(RegistryUnavailableError):
                look_up(registry, [7], budgeted=True)
            clock.now += 1.0
        error = look_up(registry, [7], budgeted=True)[7]
        assert isinstance(error, SchemaError)
        assert "answers for other schemas" in error.what
        # The next id with this failure is not waited for.
        assert isinstance(look_up(registry, [8], budgeted=True)[8], SchemaError)


def test_a_registry_that_hides_its_rule_is_asked_for_a_schema() -> None:
    forbidden: Reply = (403, {"error_code": 40301, "message": "User is denied operation Read"})
    clock = Clock()
    asked = Asked(lambda _: forbidden)
    down: list[Reply] = []
    with answering(
        lambda request: (
            down[0] if down else forbidden if request.path == "/config" else asked(request)
        )
    ) as url:
        registry = HttpRegistry(Registry(url=url), clock)
        assert look_up(registry, [1], budgeted=True)[1] == TRANSACTION
        down.append(forbidden)
        for _ in range(10):
            with pytest.raises(RegistryUnavailableError, match="refuses our credentials"):
                look_up(registry, [7], budgeted=True)
            clock.now += 1.0
        down.clear()
        assert isinstance(look_up(registry, [7], budgeted=True)[7], SchemaError)


def test_a_schema_too_large_to_be_returned_pauses_nothing() -> None:
    asked = Asked(lambda _: (200, ENDLESS))
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url))
        for _ in range(2):
            error = look_up(registry, [7], budgeted=True)[7]
            assert isinstance(error, SchemaError)
            assert f"more than {ANSWER_BYTES_MOST} bytes" in error.what
        assert asked.ids == [7]


@pytest.mark.parametrize("answer", ["errors", "nothing"])
def test_a_registry_that_only_fails_is_an_outage_while_it_lasts(answer: str) -> None:
    clock = Clock()
    failing: Reply = (500, {"error_code": 50001, "message": "store"})
    # Without any byte of an answer it is one even if other questions are answered.
    asked = Asked(lambda _: None)
    with answering(asked if answer == "nothing" else lambda _: failing) as url:
        registry = HttpRegistry(Registry(url=url), clock)
        for _ in range(20):
            with pytest.raises(RegistryUnavailableError):
                look_up(registry, [7], budgeted=True)
            clock.now += 10.0


def test_unresolvable_references_leave_the_schema_unchanged() -> None:
    deep = "[" * 100_000
    reference = [{"name": "n", "subject": "s", "version": 1}]
    answers: dict[int, Reply] = {
        5: (200, {"schema": deep, "references": reference}),
        6: (200, {"schema": "no JSON", "references": reference}),
    }
    other = (200, {"schema": '"long"', "id": 3, "version": 1, "subject": "s"})
    with answering(
        lambda request: (
            other if "subjects" in request.path else answers[int(request.path.rpartition("/")[2])]
        )
    ) as url:
        registry = HttpRegistry(Registry(url=url))
        for schema_id in answers:
            assert registry.writer_schema(schema_id) in {deep, "no JSON"}


def test_slow_answers_without_a_result_cost_their_time() -> None:
    clock = Clock()
    budget = LookupBudget(2.0, BURST, clock)
    assert budget.take(1) == 1
    budget.charge(3.0, 1)
    # 3 s without a result are 1 % of 300 s.
    clock.now += 280.0
    assert budget.take(1) == 0
    clock.now += 20.0
    assert budget.take(1) == 1


def test_a_very_slow_answer_costs_five_minutes_at_most() -> None:
    clock = Clock()
    budget = LookupBudget(2.0, BURST, clock)
    budget.charge(1_000.0, 0)
    # 600 tokens of debt, and 8 that are reserved.
    clock.now += 280.0
    assert budget.take(1) == 0
    clock.now += 10.0
    assert budget.take(1) == 1


def test_the_unknown_ids_that_are_remembered_are_bounded() -> None:
    clock = Clock()
    unknown = UnknownIds(60.0, clock)
    for schema_id in range(1, 10_002):
        unknown.remember(schema_id, SchemaError("unknown", "see the producer"))
    # The oldest one was forgotten for the newest.
    unknown.refuse(1)
    for schema_id in (2, 10_001):
        with pytest.raises(SchemaError):
            unknown.refuse(schema_id)


def test_the_failing_ids_that_are_counted_are_bounded() -> None:
    clock = Clock()
    failing = FailingIds(lambda: True, clock)
    for _ in range(2):
        assert not failing.alone(1)
    # A hundred others later, the count of the first begins again.
    for schema_id in range(2, 102):
        assert not failing.alone(schema_id)
    clock.now += 10.0
    assert not failing.alone(1)
    assert not failing.alone(101)
    assert failing.alone(101)


def freed_after_decoding(source: SchemaSource) -> bool:
    """Return whether a batch with an unknown id is freed without the garbage collector."""
    decoder = ColumnDecoder(source, TRANSACTION, Plan())
    values = BytesColumn.of([framed(1), framed(999)])
    alive = weakref.ref(values.data)
    gc.disable()
    try:
        (reason,) = decoder.decode(values).rejections.reasons
        del values
        return reason == RejectReason.UNKNOWN_SCHEMA and alive() is None
    finally:
        gc.enable()


def test_an_unknown_id_does_not_keep_its_batch_in_memory() -> None:
    assert freed_after_decoding(FileRegistry(SCHEMAS_DIRECTORY))
    with answering(Asked()) as url:
        source = HttpRegistry(Registry(url=url))
        # The first time the registry is asked, the second time the answer is remembered.
        assert freed_after_decoding(source)
        assert freed_after_decoding(source)


def test_the_texts_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_registry, "_TEXT_BYTES_MOST", 3 * len(TRANSACTION))
    asked = Asked(lambda _: KNOWN)
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url))
        for _ in range(2):
            for schema_id in (1, 2, 3):
                assert look_up(registry, [schema_id])[schema_id] == TRANSACTION
        assert asked.ids == [1, 2, 3]
        look_up(registry, [4])
        look_up(registry, [3])
        assert asked.ids == [1, 2, 3, 4]
        # The least recently used one was dropped.
        look_up(registry, [1])
        assert asked.ids == [1, 2, 3, 4, 1]


def test_an_answer_that_drips_is_not_waited_for() -> None:
    def drip(request: BaseHTTPRequestHandler) -> Reply:
        if request.path == "/config":
            return 200, {"compatibilityLevel": "FULL"}
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        with suppress(ConnectionError):
            for _ in range(1_000):
                request.wfile.write(b" ")
                time.sleep(0.02)
        return None

    with answering(drip) as url:
        registry = HttpRegistry(Registry(url=url, timeout_seconds=0.3))
        with pytest.raises(RegistryUnavailableError, match=r"timed out|not complete within"):
            registry.writer_schema(7)


@pytest.mark.parametrize("sent", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-Slow: 1\r\n", b"a"])
def test_a_head_that_drips_is_not_waited_for(sent: bytes) -> None:
    over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> Reply:
        if request.path == "/config":
            return 200, {"compatibilityLevel": "FULL"}
        if not sent.startswith(b"HTTP"):
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        with suppress(ConnectionError):
            while not over.wait(0.02):
                request.wfile.write(sent)
        return None

    with answering(drip) as url:
        registry = HttpRegistry(Registry(url=url, timeout_seconds=0.3))
        begun = time.monotonic()
        with pytest.raises(RegistryUnavailableError, match=r"timed out|not complete within"):
            registry.writer_schema(7)
        assert time.monotonic() - begun < 20
        over.set()


def test_texts_of_the_registry_are_cut_before_they_are_kept() -> None:
    long = "m" * 1_900_000
    replies: dict[int, Reply] = {
        7: (422, {"error_code": 42201, "message": long}),
        8: (200, {"schema": "x", "schemaType": long}),
    }
    with answering(Asked(replies.__getitem__)) as url:
        registry = HttpRegistry(Registry(url=url))
        for _ in range(2):
            found = look_up(registry, list(replies))
            assert [len(str(found[each])) < 500 for each in replies] == [True, True]


def test_a_schema_with_too_many_references_is_left_unchanged() -> None:
    asked = []

    def chained(request: BaseHTTPRequestHandler) -> Reply:
        asked.append(request.path)
        number = len(asked)
        reference = {"name": f"n{number}", "subject": f"s{number}", "version": 1}
        return 200, {"schema": '"long"', "references": [reference],
                     "id": 3, "version": 1, "subject": "s"}  # fmt: skip

    with answering(chained) as url:
        assert HttpRegistry(Registry(url=url)).writer_schema(7) == '"long"'
    assert len(asked) == 1 + 64


def test_the_texts_that_a_schema_references_are_bounded_together() -> None:
    asked = []
    large = json.dumps({"type": "fixed", "name": "F", "size": 1, "doc": "d" * 700_000})

    def chained(request: BaseHTTPRequestHandler) -> Reply:
        asked.append(request.path)
        number = len(asked)
        reference = {"name": f"n{number}", "subject": f"s{number}", "version": 1}
        return 200, {"schema": '"n1"' if number == 1 else large, "references": [reference],
                     "id": 3, "version": 1, "subject": "s"}  # fmt: skip

    with answering(chained) as url:
        assert HttpRegistry(Registry(url=url)).writer_schema(7) == '"n1"'
    assert len(asked) == 1 + 3


def test_what_is_refused_is_not_kept_by_the_client_either() -> None:
    clock, asked = Clock(), Asked(lambda _: (200, {"schema": "x", "schemaType": "PROTOBUF"}))
    with answering(asked) as url:
        registry = HttpRegistry(Registry(url=url), clock)
        for _ in range(2):
            with pytest.raises(SchemaError, match="is PROTOBUF, not Avro"):
                registry.writer_schema(7)
            clock.now += 3_600.0
    assert asked.ids == [7, 7]
