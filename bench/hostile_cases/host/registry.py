"""Requests to the development registry, and schemas that a client registers there."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bench.hostile_cases.case import Case, NotThereError, Place, cases, entry
from bench.hostile_cases.host.requests import asked, held, status

_JSON: Final = "application/vnd.schemaregistry.v1+json"
_TOKEN: Final = "a-token-of-the-developer-0123456789"  # noqa: S105 of no account
_PATH: Final = "/subjects/stranger-value/versions"
Serve = Callable[[int], str]


def _body(schema: Any) -> bytes:
    return json.dumps(
        {"schema": schema if isinstance(schema, str) else json.dumps(schema)}
    ).encode()


def _request(
    data: bytes, *, method: str = "POST", path: str = _PATH, kind: str = _JSON, more: str = "",
    length: int | None = None,
) -> bytes:  # fmt: skip
    size = len(data) if length is None else length
    head = f"{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n{more}"
    head += f"Content-Type: {kind}\r\n" * bool(kind) + f"Content-Length: {size}\r\n\r\n"
    return head.encode() + data


def _open(place: Place, directory: Path, **options: Any) -> Any:
    if not directory.exists():
        shutil.copytree(place.root / "schemas", directory)
    server = entry("stream_scorer.registry.server", "RegistryServer")
    if "token" in options and "token" not in server.__init__.__annotations__:
        raise NotThereError("RegistryServer token")
    return server(directory, **options)


def _served(case: Callable[[int], str], **options: Any) -> Callable[[Place], str]:
    """Run a case against a server of a copy of the shipped schemas; the case gets the port."""

    def run(place: Place) -> str:
        with _open(place, place.folder / "registry", **options) as server:
            return case(int(server.url.rpartition(":")[2]))

    return run


def _raw(data: bytes) -> Serve:
    return lambda port: status(asked(port, data))


def _registered(schema: Any) -> Serve:
    return _raw(_request(_body(schema)))


def _field(kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": "S", "fields": [{"name": "f", "type": kind}]}


def _twice(place: Place) -> str:
    """Register a schema, restart the server, register another; an id must mean one schema."""
    directory = place.folder / "registry"
    answers = []
    for number, options in enumerate(({}, {}, {"writable": True}, {"writable": True})):
        request = _request(_body(_field(["int", "long", "string", "bytes"][number])),
                           path=f"/subjects/s{number}/versions")  # fmt: skip
        with _open(place, directory, **options) as server:
            found = asked(int(server.url.rpartition(":")[2]), request)
        answers.append(
            found.rpartition(b"\r\n")[2].decode() if status(found) == "200" else "refused"
        )
    given = [each for each in answers if each != "refused"]
    return f"{len(given)} ids, {len(set(given))} different" if given else "all refused"


def _beyond(place: Place) -> str:
    """Serve registrations beyond loopback without a token."""
    with _open(place, place.folder / "registry", host="0.0.0.0", writable=True):  # noqa: S104 the attack
        return "served"


def _climbing(place: Place) -> str:
    """Register under a subject whose name climbs out of the directory."""
    directory = place.folder / "inner" / "registry"
    directory.parent.mkdir()
    with _open(place, directory, writable=True) as server:
        path = f"/subjects/{quote('../../fired', safe='')}/versions"
        code = status(
            asked(int(server.url.rpartition(":")[2]), _request(_body('"int"'), path=path))
        )
    outside = [
        p for p in place.folder.rglob("*") if "fired" in p.name and directory not in p.parents
    ]
    return f"written outside: {outside}" if outside else f"{code}, nothing outside"


def _crowd(port: int) -> str:
    """Hold 300 connections that send no complete request."""
    before = threading.active_count()
    with held(port, 300, b"POST / HTTP/1.1\r\n"):
        more = threading.active_count() - before
    return "few threads" if more <= 70 else f"{more} threads"


def _after(data: bytes) -> Serve:
    """Ask for the subjects after a hostile request."""

    def run(port: int) -> str:
        first = status(asked(port, data))
        second = status(asked(port, _request(b"", method="GET", path="/subjects", kind="")))
        return f"{first}, then {second}"

    return run


def _answered(
    body: Any, *, method: str = "POST", path: str = _PATH, **options: Any
) -> Callable[[Place], str]:
    """Send a request; return its status and its answer."""

    def run(port: int) -> str:
        data = b"" if body is None else json.dumps(body).encode()
        found = asked(port, _request(data, method=method, path=path))
        answer = found.rpartition(b"\r\n")[2].decode()
        return f"{status(found)}: {answer}"

    return _served(run, **options)


def _full(place: Place) -> str:
    """Register with a registry that holds 10,000 versions."""
    directory = place.folder / "registry"
    shutil.copytree(place.root / "schemas", directory)
    (directory / "int.avsc").write_text('"int"', encoding="utf-8")
    entries = [
        {"id": 1, "subject": f"s{number}", "version": 1, "file": "int.avsc"}
        for number in range(10_000)
    ]
    (directory / "registry.json").write_text(
        json.dumps({"compatibility": "FULL", "schemas": entries}), encoding="utf-8"
    )
    with _open(place, directory, writable=True) as server:
        return status(asked(int(server.url.rpartition(":")[2]), _request(_body('"int"'))))


def _short_token(place: Place) -> str:
    """Serve registrations for a token of five letters."""
    with _open(place, place.folder / "registry", writable=True, token="short"):  # noqa: S106 the attack
        return "served"


_REFUSED: Final = "4(03|05|22)"
_GET: Final[dict[str, Any]] = {"body": None, "method": "GET"}
_MORE: Final = tuple(
    Case(f"registry: {what}", 12, rule, expected, run, words=words)
    for what, rule, expected, words, run in (
        ("a method that a path does not have", "paths", "405: ", "Not Allowed",
         _answered(None, method="DELETE", path="/subjects")),
        *(
            (f"a method that no path has, {method}", "paths", "405: ", "Not Allowed",
             _answered(None, method=method, path="/subjects"))
            for method in ("PATCH", "OPTIONS", "TRACE", "BREW")
        ),
        ("HEAD", "paths", "200: $", "", _answered(None, method="HEAD", path="/subjects")),
        ("a target that is not a URL", "paths", "400: ", "not a URL",
         _answered(**_GET, path="http://[/subjects")),
        *(
            (f"a subject {what}", "subjects", "422: ", "422",
             _answered({"schema": '"int"'}, path=f"/subjects/{subject}/versions", writable=True))
            for what, subject in (
                ("of 5,000 letters", "a" * 5_000), ("with NUL", "a%00b"),
                ("that is not UTF-8", "%FF"), ("with half of a surrogate pair", "%ED%A0%80"),
            )
        ),
        ("a subject of 400 letters", "subjects", "200: ", '"id"',
         _answered({"schema": '"int"'}, path=f"/subjects/{'a' * 400}/versions", writable=True)),
        ("a subject that is not there", "paths", "404: ", "40401",
         _answered(**_GET, path="/subjects/nothing/versions")),
        ("an id that is not there", "paths", "404: ", "40403",
         _answered(**_GET, path="/schemas/ids/999")),
        ("the level of a subject that has none", "paths", "404: ", "40408",
         _answered(**_GET, path="/config/nothing")),
        ("a version that is a word", "paths", "422: ", "42202",
         _answered(**_GET, path="/subjects/labels-value/versions/x")),
        ("a version of 5,000 digits", "paths", "422: ", "42202",
         _answered(**_GET, path="/subjects/labels-value/versions/" + "9" * 5_000)),
        ("an incompatible schema", "paths", "409: ", "incompatible",
         _answered({"schema": '"int"'}, path="/subjects/labels-value/versions", writable=True)),
        ("a body that is a list", "content-type", "400: ", "not an object", _answered([1])),
        ("a schema of Protobuf", "avro", "422: ", "Avro only",
         _answered({"schema": '"int"', "schemaType": "PROTOBUF"}, writable=True)),
        ("a schema with references", "avro", "422: ", "references are not held",
         _answered({"schema": '"int"', "references": [{"name": "A"}]}, writable=True)),
        ("a schema that is no text", "avro", "422: ", "no text `schema`",
         _answered({"schema": {"type": "int"}}, writable=True)),
        ("the 10,001st version", "versions", "422", "", _full),
        ("a token of five letters", "beyond", "SettingsError: ", "shorter than 16 characters",
         _short_token),
    )
)  # fmt: skip

CASES: Final = (
    *_MORE,
    *cases(
        "registry", 12,
        ("a registration where the server is read-only", "read-only", _REFUSED,
         _served(_registered(_field("int")))),
        ("a compatibility level where the server is read-only", "read-only", _REFUSED,
         _served(_raw(_request(b'{"compatibility":"NONE"}', method="PUT", path="/config")))),
        ("an id that would mean two schemas after a restart", "schema-ids", "2 ids, 2 different",
         _twice),
        ("registrations beyond loopback without a token", "beyond", "SettingsError: ", _beyond),
        ("a registration without the token", "registry-token", "401",
         _served(_registered(_field("int")), writable=True, token=_TOKEN)),
        ("a registration with another token", "registry-token", "401",
         _served(_raw(_request(_body(_field("int")), more="Authorization: Bearer x\r\n")),
         writable=True, token=_TOKEN)),
        ("a token in Latin-1", "registry-token", "401",
         _served(_raw(_request(_body(_field("int"))).replace(
         b"Host: r", b"Host: r\r\nAuthorization: Bearer \xe9\xff")),
         writable=True, token=_TOKEN)),
        ("a body of 3 MB", "body", "413", _served(_raw(_request(b"{" + b" " * (3 << 20)) ))),
        ("a body of -5 bytes", "body", "(400|411|413)", _served(_raw(_request(b"", length=-5)))),
        ("a chunked body", "body", "(400|411|415)",
         _served(_raw(f"POST {_PATH} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n"
         f"Content-Type: {_JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
         "5\r\nhello\r\n0\r\n\r\n".encode()))),
        ("JSON nested 100,000 deep", "levels", "4(00|22), then 200",
         _served(_after(_request(b'{"a":' * 100_000)), writable=True), "422"),
        ("a schema nested 5,000 deep", "levels", "422, then 200",
         _served(_after(_request(_body('{"type":"array","items":' * 5_000))), writable=True)),
        ("a form of a page in a browser", "content-type", "415",
         _served(_raw(_request(_body(_field("int")), kind="text/plain")), writable=True)),
        ("no content type", "content-type", "415",
         _served(_raw(_request(_body(_field("int")), kind="")), writable=True)),
        ("a fixed of size -5", "registered", "422",
         _served(_registered(_field({"type": "fixed", "name": "F", "size": -5})), writable=True)),
        ("a fixed of size x", "registered", "422",
         _served(_registered(_field({"type": "fixed", "name": "F", "size": "x"})), writable=True)),
        ("a schema of 400 KB", "registered", "4(13|22)",
         _served(_registered({**_field("int"), "doc": "d" * 400_000}), writable=True)),
        ("a subject that climbs out", "directory", "(200|4..), nothing outside", _climbing),
        ("an id of 5,000 digits", "schema-ids", "404, then 200",
         _served(_after(_request(b"", method="GET", path="/schemas/ids/" + "9" * 5_000, kind="")))),
        ("an id in Arabic digits", "schema-ids", "404, then 200",
         _served(_after(_request(b"", method="GET", path="/schemas/ids/%D9%A3", kind="")))),
        ("300 connections", "connections", "few threads", _served(_crowd)),
    ),
)  # fmt: skip
