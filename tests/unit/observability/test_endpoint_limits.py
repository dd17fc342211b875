"""The endpoint for probes: limits for what a client can take from the process."""

import datetime as dt
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry, Gauge
from pydantic import ValidationError

from stream_scorer.errors import SettingsError
from stream_scorer.observability import bounded_http
from stream_scorer.observability.bounded_http import (
    HEAD_BYTES,
    PER_ADDRESS,
    THREADS,
    BoundedHandler,
    BoundedServer,
)
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.health import Health
from stream_scorer.settings import Http

TOKEN = "0123456789abcdef-token"  # noqa: S105 only for this test


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("secret_figure", "A figure.", registry=registry).set(7)
    return registry


@pytest.fixture
def endpoint(registry: CollectorRegistry) -> Iterator[Endpoint]:
    with Endpoint(Http(port=0), registry, Health()) as opened:
        yield opened


def ask(
    port: int, path: str, token: str = "", context: ssl.SSLContext | None = None
) -> tuple[int, str]:
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    connection.request("GET", path, headers={"Authorization": token} if token else {})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def open_to(port: int, source: str = "127.0.0.1") -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
    opened.settimeout(20)
    return opened


def closed(connection: socket.socket) -> bool:
    """Wait until the server closes a connection without an answer."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_one_address_cannot_take_every_thread(endpoint: Endpoint) -> None:
    with ExitStack() as stack:
        hanging = [stack.enter_context(open_to(endpoint.port)) for _ in range(PER_ADDRESS)]
        for each in hanging:
            each.sendall(b"GET /health")
        further = stack.enter_context(open_to(endpoint.port))
        with suppress(ConnectionError):
            # It would be answered if there were room.
            further.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert closed(further)
        other = stack.enter_context(open_to(endpoint.port, "127.0.0.2"))
        other.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert other.recv(12) == b"HTTP/1.0 200"


def test_no_more_threads_than_the_limit(endpoint: Endpoint) -> None:
    # Those of another endpoint may still be at their end.
    others = threading.enumerate()
    with ExitStack() as stack:
        for number in range(THREADS):
            one = stack.enter_context(open_to(endpoint.port, f"127.0.0.{2 + number}"))
            one.sendall(b"GET")
        assert closed(stack.enter_context(open_to(endpoint.port, "127.0.0.99")))
        threads = [each for each in threading.enumerate() if each not in others]
        serving = [each for each in threads if each.name == "http-request"]
        assert len(serving) == THREADS


def test_threads_that_cannot_be_started_take_no_places(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full, ExitStack() as stack:
        full.setattr(threading.Thread, "start", refuse)
        for number in range(THREADS):
            one = stack.enter_context(open_to(endpoint.port, f"127.0.0.{2 + number}"))
            assert closed(one)
    assert ask(endpoint.port, "/health/live")[0] == HTTPStatus.OK


def test_a_client_that_drips_is_cut_off_and_gives_its_place_back(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http, "SECONDS", 0.5)
    began = time.monotonic()
    with ExitStack() as stack:
        dripping = [stack.enter_context(open_to(endpoint.port)) for _ in range(PER_ADDRESS)]
        for each in dripping:
            each.settimeout(0.05)
        open_ones = set(dripping)
        # A byte at a time, so that no single read takes long.
        while open_ones and time.monotonic() - began < 20:
            for each in tuple(open_ones):
                try:
                    each.sendall(b"G")
                    if each.recv(1) == b"":
                        open_ones.remove(each)
                except TimeoutError:
                    continue
                except OSError:
                    open_ones.remove(each)
        assert not open_ones
    monkeypatch.undo()
    assert ask(endpoint.port, "/health/live")[0] == 200


def test_a_place_is_free_again_before_its_thread_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = threading.Event()

    class Handler(BoundedHandler):
        def do_GET(self) -> None:  # noqa: N802 http.server's name
            if self.path == "/busy":
                busy.wait(60)
            self.answer(HTTPStatus.OK, b"", "text/plain")

    with BoundedServer(("127.0.0.1", 0), Handler) as server, ExitStack() as stack:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        stack.callback(serving.join)
        stack.callback(server.shutdown)
        stack.callback(busy.set)
        monkeypatch.setattr(bounded_http, "SECONDS", 0.2)
        slow = [stack.enter_context(open_to(server.port)) for _ in range(PER_ADDRESS)]
        for each in slow:
            each.sendall(b"GET /busy HTTP/1.0\r\n\r\n")
        assert all(closed(each) for each in slow)
        monkeypatch.undo()
        assert ask(server.port, "/")[0] == HTTPStatus.OK


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * (2 * HEAD_BYTES) + b" HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + b"X-A: b\r\n" * 4_000 + b"\r\n",
        b"GET / HTTP/1.0\r\nX: " + b"y" * (2 * HEAD_BYTES) + b"\r\n\r\n",
    ],
)
def test_a_head_past_the_limit_is_refused(endpoint: Endpoint, request_bytes: bytes) -> None:
    with open_to(endpoint.port) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(12) == b"HTTP/1.0 431"
    assert ask(endpoint.port, "/health/live")[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n", b"501"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
    ],
)
def test_a_request_other_than_get_is_refused(
    endpoint: Endpoint, request_bytes: bytes, status: bytes
) -> None:
    with open_to(endpoint.port) as connection:
        connection.sendall(request_bytes)
        assert status in connection.recv(200)


def test_with_a_token_only_its_bearer_reads_metrics_and_reasons(
    registry: CollectorRegistry,
) -> None:
    with Endpoint(Http(port=0, token=TOKEN), registry, Health()) as opened:
        for wrong in ("", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"):
            assert ask(opened.port, "/metrics", wrong)[0] == 401
            status, body = ask(opened.port, "/health/ready", wrong)
            assert (status, json.loads(body)) == (503, {"ready": False})
            assert json.loads(ask(opened.port, "/health/live", wrong)[1]) == {"live": True}
        status, body = ask(opened.port, "/metrics", f"Bearer {TOKEN}")
        assert status == 200
        assert "secret_figure 7.0" in body
        assert "no model loaded" in ask(opened.port, "/health/ready", f"bearer {TOKEN}")[1]


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


def _name_of_peer(port: int) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=20)
    common = x509.load_pem_x509_certificate(pem.encode()).subject
    return str(common.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_it_speaks_tls_and_takes_a_renewed_certificate(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    chain, key = _certificate(tmp_path, "first")
    where = Http(port=0, tls_certificate=chain, tls_key=key)
    with Endpoint(where, registry, Health()) as opened:
        context = ssl.create_default_context(cafile=str(chain))
        context.check_hostname = False
        assert ask(opened.port, "/health/live", context=context)[0] == 200
        assert _name_of_peer(opened.port) == "first"
        with open_to(opened.port) as plain:
            plain.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
            assert b"HTTP/" not in plain.recv(100)
        renewed = tmp_path / "renewed"
        renewed.mkdir()
        _certificate(renewed, "second")
        (renewed / "tls.key").replace(key)
        # While only one of the two files is new, the old pair is used.
        assert _name_of_peer(opened.port) == "first"
        (renewed / "tls.crt").replace(chain)
        assert _name_of_peer(opened.port) == "second"


def test_a_certificate_that_cannot_be_used_is_one_line(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    chain, key = _certificate(tmp_path, "name")
    key.write_text("not a key")
    with pytest.raises(SettingsError, match=r"http\.tls_certificate .*PEM certificate chain"):
        Endpoint(Http(port=0, tls_certificate=chain, tls_key=key), registry, Health())
    gone = Http(port=0, tls_certificate=chain, tls_key=tmp_path / "gone")
    with pytest.raises(SettingsError, match="No such file"):
        Endpoint(gone, registry, Health())


def test_settings_need_certificate_with_key_and_a_long_token(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="together"):
        Http(tls_certificate=tmp_path / "tls.crt")
    with pytest.raises(ValidationError, match="16"):
        Http(token=TOKEN[:15])
