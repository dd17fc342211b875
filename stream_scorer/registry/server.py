"""Confluent's schema registry API over the file registry, so that its serializers work.

For development only: in production use a real registry. It supports only Avro, and refuses schemas
with references (combine them into one). It never deletes. It registers only if it is writable;
beyond loopback that requires a token.
"""

import base64
import binascii
import hmac
import io
import ipaddress
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from stream_scorer.errors import SettingsError
from stream_scorer.registry.limits import json_depth
from stream_scorer.registry.server_connections import RegistryConnections, RequestClock
from stream_scorer.registry.server_store import RegistryError, RegistryStore
from stream_scorer.registry.sources import RegisteredVersion

_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_JSON_TYPES: Final = {
    "application/json", "application/vnd.schemaregistry+json", _CONTENT_TYPE,
}  # fmt: skip
_BODY_MAX: Final = 1 << 20
_DEPTH_MAX: Final = 256
"""Maximum nesting of lists and objects, in a body and in a schema."""
_TOKEN_LEAST: Final = 16
_SUBJECT_MOST: Final = 1_024

_Answer = Callable[["_Call"], Any]


class _Call:
    """One request: the named parts of its path, the query, the body."""

    def __init__(
        self, store: RegistryStore, parts: tuple[str, ...], query: dict[str, str], body: Any
    ) -> None:
        self.store = store
        self.parts = parts
        self.query = query
        self.body = body

    def schema(self) -> str:
        """Return the body's schema."""
        if self.body.get("schemaType", "AVRO") != "AVRO":
            raise RegistryError(42201, "Invalid schema: this registry holds Avro only")
        if self.body.get("references"):
            raise RegistryError(42201, "Invalid schema: references are not held; join the schemas")
        schema = self.body.get("schema")
        if not isinstance(schema, str):
            raise RegistryError(42201, "Invalid schema: the body has no text `schema`")
        return schema

    def level(self) -> str:
        """Return the body's compatibility level."""
        return str(self.body.get("compatibility", ""))

    def asks(self, name: str) -> bool:
        """Return whether the query switches something on."""
        return self.query.get(name, "").lower() == "true"


def _whole(entry: RegisteredVersion) -> dict[str, Any]:
    return {
        "subject": entry.subject,
        "version": entry.version,
        "id": entry.schema_id,
        "schema": entry.schema,
    }


def _compatible(call: _Call, version: str | None) -> dict[str, Any]:
    found = call.store.compatible(call.parts[0], call.schema(), version)
    answer: dict[str, Any] = {"is_compatible": not found}
    if found or call.asks("verbose"):
        answer["messages"] = [str(verdict) for verdict in found]
    return answer


def _subject_level(call: _Call) -> dict[str, str]:
    subject = call.parts[0]
    if call.asks("defaultToGlobal"):
        return {"compatibilityLevel": call.store.level(subject)}
    return {"compatibilityLevel": call.store.own_level(subject)}


_ROUTES: Final[tuple[tuple[str, re.Pattern[str], _Answer], ...]] = tuple(
    (method, re.compile(re.sub("[{]([a-z])[}]", r"(?P<\1>[^/]+)", path) + "/?"), answer)
    for method, path, answer in (
        ("GET", "", lambda _: {}),
        ("GET", "/subjects", lambda c: c.store.subjects()),
        ("POST", "/subjects/{s}", lambda c: _whole(c.store.lookup(c.parts[0], c.schema()))),
        ("GET", "/subjects/{s}/versions",
         lambda c: [entry.version for entry in c.store.versions(c.parts[0])]),
        ("POST", "/subjects/{s}/versions",
         lambda c: {"id": c.store.register(c.parts[0], c.schema()).schema_id}),
        ("GET", "/subjects/{s}/versions/{v}", lambda c: _whole(c.store.version(*c.parts))),
        ("GET", "/subjects/{s}/versions/{v}/schema",
         lambda c: json.loads(c.store.version(*c.parts).schema)),
        ("GET", "/schemas/types", lambda _: ["AVRO"]),
        ("GET", "/schemas/ids/{n}",
         lambda c: {"schema": c.store.by_id(_number(c.parts[0]))[0].schema}),
        ("GET", "/schemas/ids/{n}/schema",
         lambda c: json.loads(c.store.by_id(_number(c.parts[0]))[0].schema)),
        ("GET", "/schemas/ids/{n}/subjects",
         lambda c: [entry.subject for entry in c.store.by_id(_number(c.parts[0]))]),
        ("GET", "/schemas/ids/{n}/versions",
         lambda c: [{"subject": entry.subject, "version": entry.version}
                    for entry in c.store.by_id(_number(c.parts[0]))]),
        ("POST", "/compatibility/subjects/{s}/versions", lambda c: _compatible(c, None)),
        ("POST", "/compatibility/subjects/{s}/versions/{v}",
         lambda c: _compatible(c, c.parts[1])),
        ("GET", "/config", lambda c: {"compatibilityLevel": c.store.level()}),
        ("PUT", "/config", lambda c: {"compatibility": c.store.set_level(None, c.level())}),
        ("GET", "/config/{s}", _subject_level),
        ("PUT", "/config/{s}",
         lambda c: {"compatibility": c.store.set_level(c.parts[0], c.level())}),
        ("GET", "/mode", lambda c: {"mode": c.store.mode}),
        ("GET", "/mode/{s}", lambda c: {"mode": c.store.mode}),
    )
)  # fmt: skip


def _number(text: str) -> int:
    # Not int(): Python accepts other digits, and raises for very long numbers.
    if not re.fullmatch("[0-9]{1,10}", text):
        raise RegistryError(404, "HTTP 404 Not Found")
    return int(text)


class _MethodError(RegistryError):
    """A path does not have the method; ``allowed`` are its methods."""

    def __init__(self, allowed: str) -> None:
        super().__init__(405, "HTTP 405 Method Not Allowed")
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class _Request:
    """A parsed request: its handler, the parts of its path and its query."""

    method: str
    path: str
    parts: tuple[str, ...]
    query: dict[str, str]
    answer: _Answer

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET" and re.match(_READING_POST, self.path) is None


def _asked(method: str, target: str) -> _Request:
    """Return the parsed request; HEAD is parsed as GET.

    Raises:
        RegistryError: The request is refused.
    """
    method = "GET" if method == "HEAD" else method
    try:
        address = urlsplit(target)
    except ValueError:
        raise RegistryError(400, "HTTP 400 Bad Request: the target is not a URL") from None
    found = [
        (verb, match, answer) for verb, pattern, answer in _ROUTES
        if (match := pattern.fullmatch(address.path)) is not None
    ]  # fmt: skip
    for verb, match, answer in found:
        if verb == method:
            query = {name: values[-1] for name, values in parse_qs(address.query).items()}
            parts = tuple(_part(name, text) for name, text in match.groupdict().items())
            return _Request(method, address.path, parts, query, answer)
    if found:
        verbs = {verb for verb, _, _ in found}
        raise _MethodError(", ".join(sorted(verbs | ({"HEAD"} if "GET" in verbs else set()))))
    raise RegistryError(404, "HTTP 404 Not Found")


def _part(name: str, quoted: str) -> str:
    """Return a part of a path by its name in the route: ``s`` is a subject."""
    try:
        # Invalid UTF-8 must not be replaced, as it could then equal another name.
        text = unquote(quoted, errors="strict")
    except UnicodeDecodeError:
        raise RegistryError(422, "A part of the path is not UTF-8") from None
    if name == "s" and not (text.isprintable() and len(text) <= _SUBJECT_MOST):
        raise RegistryError(
            42208, f"A subject has at most {_SUBJECT_MOST} characters, all of them printable"
        )
    return text


# POST requests that only read.
_READING_POST: Final = r"^(/subjects/[^/]+|/compatibility/.*)/?$"


def _check_depth(text: bytes) -> None:
    """Refuse JSON that is nested too deeply, before it is parsed."""
    if json_depth(text.decode(errors="replace")) > _DEPTH_MAX:
        raise RegistryError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"JSON of more than {_DEPTH_MAX} levels"
        )


class _RegistryHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: otherwise the second waits for an acknowledgement.
    disable_nagle_algorithm = True
    store: ClassVar[RegistryStore]
    token: ClassVar[str | None]

    def setup(self) -> None:
        super().setup()
        self._clock = RequestClock(self.connection)
        self.rfile = io.BufferedReader(self._clock)

    def handle_one_request(self) -> None:
        self._clock.next_request()
        super().handle_one_request()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Log nothing: a request is normal operation."""

    def __getattr__(self, name: str) -> Any:
        """Serve every method, also unknown ones, for which the base class answers 501."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        allowed = None
        try:
            body = self._body()
            asked = _asked(self.command, self.path)
            if asked.writes:
                self._check_token()
            call = _Call(self.store, asked.parts, asked.query, body)
            answer, status = asked.answer(call), 200
        except RegistryError as error:
            answer, status = {"error_code": error.code, "message": error.message}, error.status
            allowed = error.allowed if isinstance(error, _MethodError) else None
        except (TimeoutError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 one client's request ends with an answer
            answer = {"error_code": 50001, "message": f"Internal error: {type(error).__name__}"}
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", _CONTENT_TYPE)
        self.send_header("Content-Length", str(len(payload)))
        if allowed is not None:
            self.send_header("Allow", allowed)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def _check_token(self) -> None:
        """Refuse a request that may change something and has no valid token."""
        if self.token is None:
            return
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                given = ""
        if not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise RegistryError(
                401, "Unauthorized: writing takes the token, as bearer token or as password"
            )

    def _body(self) -> Any:
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise RegistryError(HTTPStatus.LENGTH_REQUIRED, "A body needs a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch("[0-9]{1,10}", length) or int(length) > _BODY_MAX:
            # An unread body would be taken for the next request.
            self.close_connection = True
            raise RegistryError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body of at most {_BODY_MAX} bytes"
            )
        text = self.rfile.read(int(length))
        if not text:
            return {}
        # A page in a browser can send any text to loopback, but not with this content type.
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in _JSON_TYPES:
            raise RegistryError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"A body needs the Content-Type {_CONTENT_TYPE}"
            )
        _check_depth(text)
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            raise RegistryError(400, "HTTP 400 Bad Request: the body is not JSON") from None
        if not isinstance(body, dict):
            raise RegistryError(400, "HTTP 400 Bad Request: the body is not an object")
        return body


class RegistryServer:
    """Serves a directory of schemas until the context ends.

    Args:
        directory: The file registry.
        host: Address to bind.
        port: 0 picks a free one.
        writable: Whether schemas may be registered, in the directory.
        token: Token that writing requests must have; None requires none.

    Raises:
        SchemaError: The directory's files do not form a registry.
        SettingsError: The address cannot be bound, another server writes to the directory, or it
            would be writable beyond loopback without a token.
    """

    def __init__(
        self,
        directory: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        writable: bool = False,
        token: str | None = None,
    ) -> None:
        if writable and token is None and not is_loopback(host):
            raise SettingsError(
                f"registry address {host}: would let any client register schemas",
                "give --token-file FILE, or leave --writable out",
            )
        if token is not None and len(token) < _TOKEN_LEAST:
            raise SettingsError(
                f"registry token: is shorter than {_TOKEN_LEAST} characters", "take a longer one"
            )
        store = RegistryStore(directory, writable=writable)
        handler = type("_StoreHandler", (_RegistryHandler,), {"store": store, "token": token})
        self._store = store
        try:
            self._server = RegistryConnections((host, port), handler)
        except OSError as error:
            store.close()
            raise SettingsError(
                f"registry address {host}:{port}: {error.strerror}", "choose another port"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._store.close()


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
