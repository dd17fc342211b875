"""Schema ids that nobody knows, and a registry that answers badly."""

import inspect
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, entry
from bench.hostile_cases.data.decoding import Source, body, framed, raw, schema_with

_ASKED: Final = "/schemas/ids/"
_CHAIN: Final = "/subjects/chain/versions/"
_MISSING: Final = b'{"error_code":40403,"message":"Schema not found"}'
_MB: Final = b" " * (1 << 20)
Answer = Callable[[BaseHTTPRequestHandler], None]


def _send(handler: BaseHTTPRequestHandler, status: int, data: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def _registry(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve the shipped schemas, and ``answer`` for ids from 900 on; note what is asked for."""
    asked: list[str] = []
    source = Source()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(_CHAIN):
                asked.append(path)
                _send(self, 200, _link(int(path.removeprefix(_CHAIN))))
                return
            if not path.startswith(_ASKED):
                _send(self, 200, b'{"compatibilityLevel":"BACKWARD"}')
                return
            asked.append(path)
            number = int(path.removeprefix(_ASKED).partition("/")[0])
            if number < 900:
                text = json.dumps({"schema": source.writer_schema(number)})
                _send(self, 200, text.encode())
            else:
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def _link(number: int) -> bytes:
    """Return a version of a subject that references the next one."""
    after = {"name": f"R{number + 1}", "subject": "chain", "version": number + 1}
    return json.dumps(
        {"subject": "chain", "id": 901, "version": number, "schema": '"int"', "references": [after]}
    ).encode()


def _unknown(handler: BaseHTTPRequestHandler) -> None:
    _send(handler, 404, _MISSING)


def _schema(value: Any, **more: Any) -> Answer:
    return lambda handler: _send(handler, 200, json.dumps({"schema": value, **more}).encode())


def _endless(handler: BaseHTTPRequestHandler) -> None:
    """Send 400 MB as one answer."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    try:
        for _ in range(400):
            handler.wfile.write(_MB)
    except OSError:
        handler.close_connection = True


def _dripping(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte every tenth of a second."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    try:
        for _ in range(300):
            handler.wfile.write(b" ")
            time.sleep(0.1)
    except OSError:
        handler.close_connection = True


def _compressed(handler: BaseHTTPRequestHandler) -> None:
    """Send 300 MB of blanks as 300 KB."""
    packed = zlib.compressobj(1, wbits=31)
    data = b"".join([*(packed.compress(_MB) for _ in range(300)), packed.flush()])
    _send(handler, 200, data, Content_Encoding="gzip")


def _fails(handler: BaseHTTPRequestHandler) -> None:
    _send(handler, 500, b'{"error_code":50001,"message":"error in the backend"}')


def _decoded(
    ids: Callable[[], list[int]], answer: Answer, tries: int = 1, **registry: Any
) -> Callable[[Place], str]:
    """Decode records of unknown ids with a good one, over HTTP.

    The text says how many questions were asked, and what became of the records.
    """

    def run(_: Place) -> str:
        settings = entry("stream_scorer.settings", "Registry")
        decoder_of = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")
        plan = entry("stream_scorer.core.events.plan", "Plan")()
        now = [0.0]
        with _registry(answer) as (url, asked):
            source = entry("stream_scorer.registry.http_registry", "HttpRegistry")(
                settings(url=url, timeout_seconds=3.0, **registry), lambda: now[0]
            )
            decoder = decoder_of(source, plan)
            given: list[bytes | None] = [
                Source().good("good"), *(framed(body(), number) for number in ids())
            ]  # fmt: skip
            budgeted = "budgeted" in inspect.signature(decoder.decode).parameters
            for left in reversed(range(tries)):
                try:
                    found = decoder.decode(raw(given), **({"budgeted": True} if budgeted else {}))
                    break
                except entry("stream_scorer.errors", "RegistryUnavailableError"):
                    now[0] += 2.0  # the loop's pause after an outage
                    if not left:
                        raise
            events, _, rejections = found
            good = "good" in events.records.column("transaction_id").to_pylist()
            reasons = sorted({str(reason) for reason in rejections.reasons})
            few = "few" if len(asked) <= 48 else len(asked)
            return f"{few} questions, good {good}, {len(rejections)} {'/'.join(reasons)}"

    return run


def _again(_: Place) -> str:
    """Decode 30 batches of the same unknown id, one after the other."""
    settings = entry("stream_scorer.settings", "Registry")
    plan = entry("stream_scorer.core.events.plan", "Plan")()
    with _registry(_unknown) as (url, asked):
        source = entry("stream_scorer.registry.http_registry", "HttpRegistry")(settings(url=url))
        for _batch in range(30):
            decoder = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")(
                source, plan
            )
            decoder.decode(raw([framed(body(), 900)]))
        return f"asked {len(asked)} times"


def _ids(first: int, count: int) -> Callable[[], list[int]]:
    return lambda: list(range(first, first + count))


_ONE: Final = _ids(900, 1)
_UNKNOWN: Final = r"few questions, good True, \d+ UNKNOWN_SCHEMA$"
_INCOMPATIBLE: Final = r"few questions, good True, 1 (INCOMPATIBLE|UNKNOWN)_SCHEMA$"

CASES: Final = (
    Case("lookup: 2,000 unknown ids in one batch", 6, "budget", _UNKNOWN,
         _decoded(_ids(1_000, 2_000), _unknown)),
    Case("lookup: ids that no registry gives", 6, "id-range", "few questions, good True, 3 UNKNOWN",
         _decoded(lambda: [0, 2**31, 2**32 - 1], _unknown)),
    Case("lookup: one unknown id", 6, "budget", _UNKNOWN, _decoded(_ONE, _unknown)),
    Case("lookup: an id for which the registry fails each time", 6, "failing", _UNKNOWN,
         _decoded(_ONE, _fails, tries=12)),
    Case("lookup: an answer of 400 MB", 6, "answers", _UNKNOWN,
         _decoded(_ONE, _endless, tries=12)),
    Case("lookup: an answer of 300 MB, compressed", 6, "answers", _UNKNOWN,
         _decoded(_ONE, _compressed, tries=12)),
    Case("lookup: an answer that comes byte by byte", 6, "answers",
         f"{_UNKNOWN}|RegistryUnavailableError: ", _decoded(_ONE, _dripping, tries=4)),
    Case("lookup: an answer that is not JSON", 6, "answers", _UNKNOWN,
         _decoded(_ONE, lambda h: _send(h, 200, b"<html>"), tries=12)),
    Case("lookup: a schema that is a number", 6, "answers", _INCOMPATIBLE,
         _decoded(_ONE, _schema(17), tries=12)),
    Case("lookup: an answer nested 100,000 deep", 6, "answers", _UNKNOWN,
         _decoded(_ONE, lambda h: _send(h, 200, b"[" * 100_000), tries=12)),
    Case("lookup: a Protobuf schema", 6, "answers", _INCOMPATIBLE,
         _decoded(_ONE, _schema("syntax", schemaType="PROTOBUF"), tries=12),
         words="1 UNKNOWN_SCHEMA"),
    Case("lookup: a schema that the registry refuses", 6, "refused", _UNKNOWN,
         _decoded(_ONE, lambda h: _send(h, 422, b'{"error_code":42201,"message":"invalid"}'))),
    Case("lookup: a registry that refuses our password", 6, "outage",
         "RegistryUnavailableError: ",
         _decoded(_ONE, lambda h: _send(h, 401, b'{"error_code":40101,"message":"no"}')),
         words="refuses our credentials"),
    Case("lookup: one unknown id in 30 batches", 6, "remembered", "asked [1-3] times", _again),
    Case("lookup: references without an end", 6, "references",
         r"6[456] questions, good True, 0 $",
         _decoded(
             _ONE,
             _schema(schema_with(), references=[{"name": "R", "subject": "chain", "version": 1}]),
         )),
    Case("lookup: a schema that references itself", 6, "answers",
         f"{_INCOMPATIBLE}|few questions, good True, 0 ",
         _decoded(
             _ONE,
             _schema(schema_with(), references=[{"name": "A", "subject": "s", "version": 1}]),
             tries=12,
         )),
)  # fmt: skip
