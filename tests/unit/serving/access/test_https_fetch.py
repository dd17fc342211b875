"""One answer of another server: verified, bounded in bytes and time, without redirects."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.serving.access.https_fetch import fetch, tls_context
from tests.support.serving.self_signed import certificate

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """An HTTPS server on loopback with one answer.

    Attributes:
        answer: Writes it.
        paths: Of the requests.
    """

    def __init__(self, folder: Path, *, newest: ssl.TLSVersion | None = None) -> None:
        self.ca, key = certificate(folder)
        self.answer: Answer = lambda handler: body(handler, b"keys")
        self.paths: list[str] = []
        self.encodings: list[str | None] = []
        self.stop = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.paths.append(self.path)
                site.encodings.append(self.headers.get("Accept-Encoding"))
                site.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if newest is not None:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = newest
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(self.ca, key)
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_address[1]}/keys?v=1"

    def fetch(self, bytes_max: int = 100, seconds: float = 30.0) -> bytes:
        return fetch(self.url, tls_context(self.ca), bytes_max, seconds)

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def body(
    handler: BaseHTTPRequestHandler, data: bytes, length: int | None = None, **headers: str
) -> None:
    handler.send_response(int(headers.pop("status", "200")))
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_the_answer_is_the_body(site: Site) -> None:
    assert site.fetch() == b"keys"
    assert site.paths == ["/keys?v=1"]
    assert site.encodings == ["identity"]


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 500])
def test_only_a_200_is_an_answer(site: Site, status: int) -> None:
    target = site.url.replace("/keys", "/other")
    site.answer = lambda handler: body(handler, b"", status=str(status), Location=target)
    with pytest.raises(UnavailableError, match=str(status)):
        site.fetch()
    # A redirect is not followed.
    assert site.paths == ["/keys?v=1"]


def test_an_answer_past_the_limit_is_refused(site: Site) -> None:
    site.answer = lambda handler: body(handler, b"x" * 100)
    assert len(site.fetch()) == 100
    site.answer = lambda handler: body(handler, b"x" * 101)
    with pytest.raises(UnavailableError, match="larger than 100 bytes"):
        site.fetch()


def test_an_endless_answer_is_refused(site: Site) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not site.stop.is_set():
            handler.wfile.write(b"x" * 65_536)

    site.answer = endless
    with pytest.raises(UnavailableError, match="larger than"):
        site.fetch()


def test_an_answer_that_was_cut_off_is_refused(site: Site) -> None:
    site.answer = lambda handler: body(handler, b"ke", length=4)
    with pytest.raises(UnavailableError):
        site.fetch()


def test_a_compressed_answer_is_refused(site: Site) -> None:
    site.answer = lambda handler: body(handler, b"\x1f\x8b", Content_Encoding="gzip")
    with pytest.raises(UnavailableError, match="compressed"):
        site.fetch()


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_answer_byte_by_byte_has_the_same_time(site: Site, part: str) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        if part == "body":
            handler.wfile.write(b"Content-Length: 5000\r\n\r\n")
        while not site.stop.wait(0.05):
            handler.wfile.write(b"x")

    site.answer = slow
    begin = time.monotonic()
    with pytest.raises(UnavailableError):
        site.fetch(10_000, seconds=0.5)
    assert 0.4 < time.monotonic() - begin < 30.0


def test_a_server_without_a_trusted_certificate_is_refused(site: Site) -> None:
    with pytest.raises(UnavailableError, match=r"certificate|CERTIFICATE"):
        fetch(site.url, tls_context(None), 100, 5.0)
    with pytest.raises(UnavailableError, match=r"certificate|CERTIFICATE"):
        fetch(site.url.replace("localhost", "127.0.0.1"), tls_context(site.ca), 100, 5.0)
    assert site.paths == []


def test_no_tls_older_than_1_2_is_spoken() -> None:
    assert tls_context(None).minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls_context(None).verify_mode == ssl.CERT_REQUIRED
    assert tls_context(None).check_hostname


def test_a_server_that_is_not_there_is_an_outage(site: Site) -> None:
    site.close()
    with pytest.raises(UnavailableError, match="https://localhost"):
        site.fetch(seconds=1.0)
    site.server.server_close()


def test_a_wrong_file_of_certificates_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(SettingsError, match=name):
            tls_context(tmp_path / name)
