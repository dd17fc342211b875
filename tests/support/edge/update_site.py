"""An HTTPS server on loopback that serves a folder, with some of its answers replaced."""

import contextlib
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stream_scorer.closing import Closing
from tests.support.serving.self_signed import certificate

Answer = Callable[[BaseHTTPRequestHandler], None]


class UpdateSite(Closing):
    """Serves a repository.

    Args:
        folder: The repository.
        scratch: For certificate and key.

    Attributes:
        ca: The certificate.
        replaced: Answers by path below the folder, instead of the file's.
        asked: Paths of the requests, in order.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.ca, key = certificate(scratch)
        self.replaced: dict[str, bytes | Answer] = {}
        self.asked: list[str] = []
        self.stopped = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/edge/")
                site.asked.append(path)
                answer = site.replaced.get(path)
                file = folder / path
                with contextlib.suppress(OSError):
                    if answer is None:
                        answer = file.read_bytes() if file.is_file() else b""
                        send(self, answer, 200 if file.is_file() else 404)
                    elif isinstance(answer, bytes):
                        send(self, answer)
                    else:
                        answer(self)

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the repository is served."""
        return f"https://localhost:{self._server.server_address[1]}/edge"

    def close(self) -> None:
        """End the server and its answers."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def endless(self, handler: BaseHTTPRequestHandler) -> None:
        """Send bytes until the client leaves."""
        handler.send_response(200)
        handler.end_headers()
        while not self.stopped.is_set():
            handler.wfile.write(bytes(65_536))

    def dripping(self, handler: BaseHTTPRequestHandler) -> None:
        """Send a byte now and then, until the client leaves."""
        handler.send_response(200)
        handler.send_header("Content-Length", "10000")
        handler.end_headers()
        while not self.stopped.wait(0.02):
            handler.wfile.write(b" ")

    def dripping_head(self, handler: BaseHTTPRequestHandler) -> None:
        """Send a head that never ends."""
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not self.stopped.wait(0.02):
            handler.wfile.write(b"x")


def send(handler: BaseHTTPRequestHandler, data: bytes, status: int = 200) -> None:
    """Send a complete answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    """Send less than was announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    handler.wfile.write(b"{")


def error_500(handler: BaseHTTPRequestHandler) -> None:
    """Fail."""
    handler.send_response(500)
    handler.end_headers()


def redirect(handler: BaseHTTPRequestHandler) -> None:
    """Send the client elsewhere."""
    handler.send_response(302)
    handler.send_header("Location", "https://localhost/elsewhere")
    handler.end_headers()
