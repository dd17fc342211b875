"""Sinks deliver each event at least once, in order, with a key and a signature."""

import base64
import hashlib
import hmac
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder
from stream_scorer.drift.monitor.events import event_of
from stream_scorer.drift.sinks.delivery import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Delivery,
    FedRecord,
    SinkLoop,
)
from stream_scorer.drift.sinks.log import LogSink
from stream_scorer.drift.sinks.message import BODY_MOST, SinkMessage, message_of
from stream_scorer.drift.sinks.process import sink_of
from stream_scorer.drift.sinks.webhook import Webhook
from stream_scorer.errors import RegistryUnavailableError, SettingsError
from stream_scorer.observability.logging import process_logger
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.settings import Monitor, Settings
from stream_scorer.telemetry import DriftEventSent, Event, RecordsSkipped
from tests.support.drift.documents import alarm
from tests.support.drift.monitors import EVENT, FILES

SECRET = "a-secret-made-for-this-test"  # noqa: S105 a test's own
NOW = 1_700_000_000


class Receiver:
    """A server of ours that answers with the given statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        answers = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((headers | {"path": self.path}, body))
                status = answers.pop(0) if answers else 200
                self.send_response(status)
                self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?team=risk"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Feed:
    """Records in memory; a new feed begins at the committed offset."""

    def __init__(self, values: list[bytes | None], committed: int = 0) -> None:
        self._values = values
        self._at = committed
        self.committed = committed
        self.mine = True
        self.waits: list[float] = []
        self.closed = False

    def next(self, wait: float) -> FedRecord | None:
        del wait
        if self._at == len(self._values):
            return None
        self._at += 1
        return FedRecord(0, self._at - 1, self._values[self._at - 1])

    def owns(self, record: FedRecord) -> bool:
        del record
        return self.mine

    def idle(self, seconds: float) -> None:
        self.waits.append(seconds)

    def commit(self, record: FedRecord) -> None:
        self.committed = record.offset + 1

    def lag(self) -> int | None:
        return len(self._values) - self._at

    def close(self) -> None:
        self.closed = True


def values(count: int = 3) -> list[bytes | None]:
    return [EVENT.encode(event_of(alarm(event_id=f"{n:016x}"))) for n in range(count)]


def loop(
    feed: Feed, sink: Any, told: list[Event] | None = None, registry: SchemaSource = FILES
) -> SinkLoop:
    decoder = RecordDecoder(registry, reader_schema("drift-event.v3"))
    return SinkLoop(feed, sink, decoder, (told if told is not None else []).append)


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    made = Receiver(*getattr(request, "param", ()))
    yield made
    made.close()


def webhook(receiver: Receiver) -> Webhook:
    return Webhook(receiver.url, SECRET, 5.0, lambda: float(NOW))


def test_events_arrive_in_order_with_key_and_signature(receiver: Receiver) -> None:
    feed, told = Feed(values()), list[Event]()
    running = loop(feed, webhook(receiver), told)
    for _ in range(4):
        running.step()
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"{n:016x}" for n in range(3)]
    assert feed.committed == 3
    headers, body = receiver.got[0]
    signed = b".".join([headers["webhook-id"].encode(), str(NOW).encode(), body])
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest())
    assert headers["webhook-signature"] == f"v1,{expected.decode()}"
    assert headers["webhook-timestamp"] == str(NOW)
    assert headers["path"] == "/hook?team=risk"
    said = json.loads(body)
    assert said["severity"] == "page"
    assert said["window_end"].endswith("Z")
    assert told == [DriftEventSent("sent", n, "") for n in (2, 1, 0)]


@pytest.mark.parametrize("receiver", [(500, 429, 503)], indirect=True)
def test_a_receiver_that_is_down_is_tried_again(receiver: Receiver) -> None:
    feed, told = Feed(values(1)), list[Event]()
    loop(feed, webhook(receiver), told).step()
    assert [headers["webhook-id"] for headers, _ in receiver.got] == ["0" * 16] * 4
    assert len({body for _, body in receiver.got}) == 1
    assert sum(feed.waits) == pytest.approx(7 * FIRST_WAIT, rel=0.05)
    results = [each.result for each in told if isinstance(each, DriftEventSent)]
    assert results == ["waiting"] * 3 + ["sent"]
    assert feed.committed == 1


def test_no_wait_is_longer_than_a_minute() -> None:
    class Deaf:
        name = "deaf"
        left = 12

        def send(self, message: SinkMessage, heartbeat: Callable[[], None]) -> Delivery:
            del message, heartbeat
            self.left -= 1
            return Delivery("waiting" if self.left else "sent", "")

    feed = Feed(values(1))
    loop(feed, Deaf()).step()
    assert sum(feed.waits) == pytest.approx(1 + 2 + 4 + 8 + 16 + 32 + 5 * LONGEST_WAIT, rel=0.05)


@pytest.mark.parametrize("receiver", [(400,), (410,)], indirect=True)
def test_an_event_that_is_refused_is_skipped(receiver: Receiver) -> None:
    feed, told = Feed(values(2)), list[Event]()
    running = loop(feed, webhook(receiver), told)
    running.step()
    running.step()
    results = [each.result for each in told if isinstance(each, DriftEventSent)]
    assert results == ["skipped", "sent"]
    assert feed.committed == 2


@pytest.mark.parametrize("receiver", [(302, 307)], indirect=True)
def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    loop(Feed(values(1)), webhook(receiver)).step()
    assert {headers["path"] for headers, _ in receiver.got} == {"/hook?team=risk"}
    assert len(receiver.got) == 3


def test_a_kill_before_the_commit_sends_the_event_again(receiver: Receiver) -> None:
    class Killed(Feed):
        def commit(self, record: FedRecord) -> None:
            raise KeyboardInterrupt(record.offset)

    held = values(2)
    with pytest.raises(KeyboardInterrupt):
        loop(Killed(held), webhook(receiver)).step()
    after = Feed(held)
    running = loop(after, webhook(receiver))
    running.step()
    running.step()
    names = [headers["webhook-id"] for headers, _ in receiver.got]
    assert names == ["0" * 16, "0" * 16, f"{1:016x}"]


def test_a_revoked_partition_is_not_committed(receiver: Receiver) -> None:
    feed = Feed(values(1))
    feed.mine = False
    loop(feed, webhook(receiver)).step()
    assert feed.committed == 0


def test_a_stop_ends_a_wait() -> None:
    class Down:
        name = "down"

        def send(self, message: SinkMessage, heartbeat: Callable[[], None]) -> Delivery:
            del message, heartbeat
            running.stop()
            return Delivery("waiting", "down")

    feed = Feed(values(1))
    running = loop(feed, Down())
    running.run()
    assert (feed.committed, feed.waits, feed.closed) == (0, [], True)


def test_records_that_are_not_events_are_passed_over(receiver: Receiver) -> None:
    old = RecordCodec(5, reader_schema("drift-event.v1"))
    names = ("detected_at", "window_start", "window_end", "observations")
    event: dict[str, object] = {**dict.fromkeys(names, 1)}
    event |= dict.fromkeys(("value", "reference", "estimate"), 0.5)
    event |= dict.fromkeys(("signal", "detector", "model", "model_version"), "x")
    forged = EVENT.encode(event_of(alarm(event_id="a\nb")))
    feed, told = Feed([b"text", None, old.encode(event), forged]), list[Event]()
    running = loop(feed, webhook(receiver), told)
    for _ in range(4):
        running.step()
    assert [each.offset for each in told if isinstance(each, RecordsSkipped)] == [0, 1, 3]
    # An event of version 1 has no id: its place in the topic is the key.
    assert [headers["webhook-id"] for headers, _ in receiver.got] == ["0-2"]
    assert feed.committed == 4


def test_an_outage_of_the_registry_loses_nothing(receiver: Receiver) -> None:
    class Flaky:
        left = 2

        def writer_schema(self, number: int) -> str:
            self.left -= 1
            if self.left >= 0:
                raise RegistryUnavailableError("registry: no answer")
            return FILES.writer_schema(number)

        def id_for(self, *names: str) -> int:
            return FILES.id_for(*names)

    feed = Feed(values(1))
    loop(feed, webhook(receiver), registry=Flaky()).step()
    assert len(receiver.got) == 1
    assert sum(feed.waits) == pytest.approx(3, rel=0.05)


def test_a_large_event_is_shortened() -> None:
    event = event_of(alarm()) | {"labels": ["x" * 4_000] * 20, "value": float("nan")}
    message = message_of(event, "0-0")
    assert len(message.body) <= BODY_MOST
    said = json.loads(message.body)
    assert (said["labels"], said["shortened"], said["value"]) == (None, True, None)


def test_the_log_sink_writes_a_line() -> None:
    stream = io.StringIO()
    feed = Feed(values(1))
    loop(feed, LogSink(process_logger("test", stream=stream))).step()
    assert feed.committed == 1
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["event_id"], line["severity"]) == ("drift_event", "0" * 16, "page")


def test_sinks_need_their_settings() -> None:
    with pytest.raises(SettingsError, match=r"needs monitor\.webhook_url"):
        sink_of(Settings(), "webhook")
    with pytest.raises(SettingsError, match="unknown sink 'pager'"):
        sink_of(Settings(), "pager")
    with pytest.raises(SettingsError, match="not base64"):
        Webhook("https://example.com", "whsec_???", 1.0)
    encoded = base64.b64encode(SECRET.encode()).decode()
    monitor = Monitor(
        webhook_url="https://example.com", webhook_secret=SecretStr(f"whsec_{encoded}")
    )
    assert sink_of(Settings(monitor=monitor), "webhook").name == "webhook"
