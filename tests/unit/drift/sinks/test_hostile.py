"""A sink outlives forged events and receivers that never finish their answer."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from stream_scorer.drift.monitor.events import event_of
from stream_scorer.drift.sinks.delivery import Delivery
from stream_scorer.drift.sinks.message import BODY_MOST, SinkMessage, message_of
from stream_scorer.drift.sinks.process import group_of
from stream_scorer.drift.sinks.webhook import Webhook
from stream_scorer.settings import Monitor, Settings
from tests.support.drift.documents import alarm

SECRET = "a-secret-made-for-this-test"  # noqa: S105 a test's own
MESSAGE = SinkMessage("0" * 16, {}, b"{}")
Answer = Callable[[socket.socket], None]


def drip(connection: socket.socket) -> None:
    """Send a byte of a header now and then: no read ever takes long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def continued(connection: socket.socket) -> None:
    """Announce an answer for ever."""
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


class Endless:
    """A server that gives each connection to a function."""

    def __init__(self, answer: Answer) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, suppress(OSError):
            connection.recv(65_536)
            self._answer(connection)

    def close(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive(), "the sink left its connection open"
        self._listener.close()


@pytest.fixture(params=[drip, continued])
def endless(request: pytest.FixtureRequest) -> Iterator[Endless]:
    made = Endless(request.param)
    yield made
    made.close()


def test_a_receiver_that_drips_does_not_hold_the_sink(endless: Endless) -> None:
    beats: list[float] = []
    sink = Webhook(endless.url, SECRET, 1.0)
    begun = time.monotonic()
    delivery = sink.send(MESSAGE, lambda: beats.append(time.monotonic()))
    assert delivery == Delivery("waiting", "no answer within 1 s")
    assert time.monotonic() - begun < 60
    assert len(beats) >= 3, "the process is alive meanwhile"


def test_one_request_at_a_time_waits_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()

    def looked_up(*_: object, **__: object) -> None:
        found.wait(30)
        raise OSError("no such host")

    monkeypatch.setattr(socket, "create_connection", looked_up)
    sink = Webhook("http://127.0.0.1:1/", SECRET, 0.05)
    assert sink.send(MESSAGE).why == "no answer within 0.05 s"
    before = threading.active_count()
    assert "has not ended" in sink.send(MESSAGE).why
    assert threading.active_count() == before
    found.set()


@pytest.mark.parametrize("key", ["a\nb", "ключ", "", "x" * 5_000])
def test_the_id_of_a_forged_event_does_not_end_the_sink(key: str) -> None:
    sent = Webhook("http://127.0.0.1:1/", SECRET, 1.0).send(SinkMessage(key, {}, b""))
    assert sent.result == "skipped"


@pytest.mark.parametrize("name", ["a\nb", "ключ", "0" * 15, "0" * 17, "A" * 16])
def test_an_event_with_another_id_is_not_an_event(name: str) -> None:
    with pytest.raises(ValueError, match="16 hex digits"):
        message_of(event_of(alarm(event_id=name)), "0-0")


def test_no_event_is_larger_than_the_limit() -> None:
    event = event_of(alarm()) | {"labels": ["é" * 4_096] * 65}
    texts = [name for name, value in event.items() if isinstance(value, str) and name != "event_id"]
    assert len(texts) >= 12
    message = message_of(event | dict.fromkeys(texts, "\U0001f600" * 9_000), "0-0")
    assert len(message.body) <= BODY_MOST
    assert json.loads(message.body)["shortened"] is True
    assert message.key == event["event_id"]


def test_each_kind_of_sink_has_its_own_group() -> None:
    settings = Settings(monitor=Monitor(sink_group="alarms"))
    assert group_of(settings, "webhook") == "alarms-webhook"
    assert group_of(settings, "log") == "alarms-log"


def test_a_text_of_an_event_is_cut() -> None:
    message = message_of(event_of(alarm(stream="x" * 5_000)), "0-0")
    assert json.loads(message.body)["signal"] == "x" * 4_096
    assert "shortened" not in json.loads(message.body)
