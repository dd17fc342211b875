"""The reference server: one process, both bindings, broken by name while it runs."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import grpc

from tests.oip.messages import METHODS, SERVICE, message_types
from tests.oip.reference.grpc_binding import answered_call
from tests.oip.reference.model import (
    DATATYPE,
    FEATURES,
    MODEL,
    OUTPUTS,
    VERSIONS,
    WIDTH,
    RefusedRequestError,
)
from tests.oip.reference.rest_binding import answered
from tests.oip.target import OipTarget, SampleInput, sample_rows


class ReferenceServer:
    """A small server that conforms to the protocol, unless it is told not to.

    Attributes:
        broken: Name of the variant that it is; empty for the correct server.
        target: Itself, as the suite asks it.
    """

    def __init__(self) -> None:
        self.broken = ""
        reference = self

        class Handler(_HttpHandler):
            server_of = reference

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        # The interval is how long the end waits for the loop, in seconds.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._workers = ThreadPoolExecutor(2)
        self._grpc = grpc.server(self._workers)
        handlers = {method: self._method(method) for method in METHODS}
        self._grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        self.target = OipTarget(
            url=f"http://127.0.0.1:{self._http.server_address[1]}",
            grpc=f"127.0.0.1:{port}",
            model=MODEL,
            version=VERSIONS[0],
            input=SampleInput(FEATURES, DATATYPE, sample_rows(WIDTH, DATATYPE)),
            outputs=tuple(OUTPUTS),
        )

    def start(self) -> None:
        """Serve in threads until ``stop``."""
        self._thread.start()
        self._grpc.start()

    def stop(self) -> None:
        """End both bindings."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._grpc.stop(None).wait()
        self._workers.shutdown()

    @contextmanager
    def as_variant(self, broken: str) -> Iterator[OipTarget]:
        """Be a broken variant for a while."""
        self.broken = broken
        try:
            yield self.target
        finally:
            self.broken = ""

    def _method(self, method: str) -> Any:
        def answer(request: Any, context: Any) -> Any:
            try:
                return answered_call(method, request, self.broken)
            except RefusedRequestError as error:
                missing = error.status == 404
                code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
                return context.abort(code, str(error))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=message_types()[f"{method}Request"].FromString,
            response_serializer=message_types()[f"{method}Response"].SerializeToString,
        )


class _HttpHandler(BaseHTTPRequestHandler):
    server_of: ReferenceServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = answered(self.command, unquote(self.path), headers, body, self.server_of.broken)
        status, fields, content = reply.written()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
