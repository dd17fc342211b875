"""A registry whose answers a test scripts, over real HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any] | None
"""Status and body; None closes the connection without an answer."""


@contextmanager
def answering(reply: Callable[[BaseHTTPRequestHandler], Reply]) -> Iterator[str]:
    """Serve one function over HTTP; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            pass

        def do_GET(self) -> None:
            replied = reply(self)
            if replied is None:
                self.close_connection = True
                return
            status, document = replied
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


UNKNOWN: Reply = (404, {"error_code": 40403, "message": "Schema not found"})
LONG: Reply = (200, {"schema": '"long"'})
