"""A schema registry behind a proxy that can be slow, or closed, and counts what it does."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from stream_scorer.devkafka.cluster import seed_registry
from stream_scorer.registry.server import RegistryServer

_SECONDS = 10


class Door:
    """The proxy between scorers and the registry.

    Attributes:
        url: The URL for scorers.
        delay_seconds: Delay of each answer.
        shut: Whether connections are closed without an answer.
        delayed: Number of delayed answers.
        refused: Number of requests without an answer.
    """

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.upstream = upstream
        self.delay_seconds = 0.0
        self.shut = False
        self.delayed = 0
        self.refused = 0

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """Register a schema directly at the registry; return its id."""
        body = json.dumps({"schema": json.dumps(schema)}).encode()
        request = urllib.request.Request(  # noqa: S310 our own address
            f"{self.upstream}/subjects/{subject}/versions",
            body,
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 the same
            return int(json.load(answer)["id"])


def _handler(door: Door) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            pass

        def do_GET(self) -> None:
            self._pass(None)

        def do_POST(self) -> None:
            self._pass(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass(self, body: bytes | None) -> None:
            if door.shut:
                door.refused += 1
                self.close_connection = True
                return
            if door.delay_seconds:
                door.delayed += 1
                time.sleep(door.delay_seconds)
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            request = urllib.request.Request(door.upstream + self.path, body, headers)  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                    status, payload = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, payload = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler


@contextmanager
def registry(folder: Path) -> Iterator[Door]:
    """Serve a registry of the shipped schemas behind a proxy until the context's end."""
    with RegistryServer(seed_registry(folder), writable=True) as server:
        door = Door(server.url)
        listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(door))
        door.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield door
        finally:
            listener.shutdown()
            thread.join()
            listener.server_close()
