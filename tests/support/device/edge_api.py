"""The routes of ``/v1/edge`` in a small server, as a device sees them; it publishes to a list."""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stream_scorer.edge.claims.chain import chained
from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow

KEY = "ssk_test"


class EdgeApi:
    """What the server has published, and how it misbehaves.

    Attributes:
        device: The device that may upload.
        published: The rows, in order.
        problem: The next answer, instead of the result: status and members.
        revoked_after: Rows with a higher number are refused; None: none is.
        drop: Whether the next upload is published, and its answer lost.
        requests: Number of requests.
        asked: Set when a request has arrived.
        answers: While it is not set, requests are not answered.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.published: list[EdgeRow] = []
        self.progress = EdgeProgress()
        self.problem: tuple[int, Mapping[str, Any]] | None = None
        self.drop = False
        self.revoked_after: int | None = None
        self.requests = 0
        self.asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def take(self, rows: list[EdgeRow]) -> tuple[int, Mapping[str, Any]]:
        """Publish rows, as ``EdgePublisher`` does."""
        if self.revoked_after is not None and rows[-1].sequence > self.revoked_after:
            return _problem(403, "edge-revoked", revoked_after=self.revoked_after)
        news = [row for row in rows if row.sequence > self.progress.sequence]
        if news and news[0].sequence != self.progress.sequence + 1:
            return _problem(409, "edge-gap", expected=self.progress.sequence + 1)
        if news and news[0].previous != self.progress.chain:
            return _problem(409, "edge-fork")
        self.published += news
        if news:
            chain = chained(news[-1].previous, self.device, news[-1])
            self.progress = EdgeProgress(news[-1].sequence, chain)
        told = {"published": len(news), "repeated": len(rows) - len(news)}
        return 200, {"progress": self.document(), **told}

    def document(self) -> dict[str, Any]:
        """Return the progress as JSON."""
        chain = base64.b64encode(self.progress.chain).decode()
        return {"sequence": self.progress.sequence, "chain": chain}


def _problem(status: int, kind: str, **members: Any) -> tuple[int, Mapping[str, Any]]:
    return status, {"type": f"urn:stream-scorer:problem:{kind}", "status": status, **members}


@contextmanager
def serving(api: EdgeApi) -> Iterator[EdgeApi]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(200, api.document())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            rows = [
                EdgeRow(
                    row["sequence"],
                    *(
                        base64.b64decode(row[name])
                        for name in ("key", "value", "decision", "previous", "signature")
                    ),
                )
                for row in body["rows"]
            ]
            if api.problem is None and api.drop:
                api.take(rows)
                api.drop = False
                self.close_connection = True
                return
            self.answer(*(api.take(rows) if api.problem is None else (200, {})))

        def answer(self, status: int, document: Mapping[str, Any]) -> None:
            api.requests += 1
            api.asked.set()
            api.answers.wait(30)
            if self.headers["authorization"] != f"Bearer {KEY}":
                status, document = _problem(401, "unauthorized")
            elif api.problem is not None:
                status, document = api.problem
                api.problem = None
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            with suppress(OSError):  # the device may have left
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        api.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield api
        finally:
            api.answers.set()
            server.shutdown()
            thread.join()
