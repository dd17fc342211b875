"""The development registry with hostile clients."""

import json
import shutil
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stream_scorer.devkafka.cluster import seed
from stream_scorer.errors import SettingsError
from stream_scorer.registry import server_connections
from stream_scorer.registry.server import _BODY_MAX, RegistryServer
from stream_scorer.registry.server_store import RegistryStore
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY

TOKEN = "0123456789abcdef0123"  # noqa: S105 not a real secret
JSON = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
NEW = json.dumps({"schema": '"long"'})
VERSIONS = "/subjects/new-value/versions"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SCHEMAS_DIRECTORY, tmp_path / "schemas"))


@pytest.fixture
def server(directory: Path) -> Iterator[RegistryServer]:
    with RegistryServer(directory, writable=True, token=TOKEN) as running:
        yield running


def ask(
    server: RegistryServer, method: str, target: str, body: str | bytes, headers: dict[str, str]
) -> tuple[int, str]:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return response.status, str(json.loads(response.read()).get("message", ""))
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Basic !", 401),
        (f"Basic {b64encode(b'me:wrong').decode()}", 401),
        (f"Bearer {TOKEN}", 200),
        (f"Basic {b64encode(f'me:{TOKEN}'.encode()).decode()}", 200),
    ],
)
def test_registering_takes_the_token(
    server: RegistryServer, authorization: str | None, status: int
) -> None:
    headers = JSON | ({"Authorization": authorization} if authorization else {})
    assert ask(server, "POST", VERSIONS, NEW, headers)[0] == status
    level = json.dumps({"compatibility": "NONE"})
    assert ask(server, "PUT", "/config", level, headers)[0] == status
    assert ask(server, "GET", "/schemas/ids/1", "", {})[0] == 200
    # Looking up a schema writes nothing.
    assert ask(server, "POST", "/subjects/labels-value", NEW, JSON)[0] == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "registry.example"])  # noqa: S104 refused
def test_it_is_writable_beyond_loopback_with_a_token_only(host: str, directory: Path) -> None:
    with pytest.raises(SettingsError, match="--token-file"):
        RegistryServer(directory, host, writable=True)
    with pytest.raises(SettingsError, match="shorter than 16"):
        RegistryServer(directory, host, writable=True, token="short")  # noqa: S106 refused


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (NEW, {"Content-Type": "text/plain"}, 415),
        (NEW, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (NEW, {}, 415),
        ('{"a":' + "[" * 300 + "]" * 300 + "}", JSON, 422),
        ("[" * 500_000, JSON, 422),
        (json.dumps({"schema": "[" * 300 + "]" * 300}), JSON, 422),
        (json.dumps({"schema": '{"type": "array", "items": ' * 255 + '"int"'}), JSON, 422),
        (json.dumps({"schema": json.dumps("x" * 300_000)}), JSON, 422),
        (json.dumps({"schema": "\ud800"}), JSON, 422),
        ('\\"' * 500_000, JSON, 400),
        (json.dumps({"schema": '\\"' * 100_000}), JSON, 422),
        (b"\xff" * 10, JSON, 400),
        ("[1]", JSON, 400),
        (b"x" * (_BODY_MAX + 1), JSON, 413),
        (NEW, JSON | {"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_body_that_is_not_a_small_json_document_is_refused(
    directory: Path, body: str | bytes, headers: dict[str, str], status: int
) -> None:
    with RegistryServer(directory, writable=True) as running:
        given = body if isinstance(body, bytes) else body.encode()
        connection = HTTPConnection(urlsplit(running.url).netloc, timeout=20)
        connection.putrequest("POST", VERSIONS)
        for name, value in ({"Content-Length": str(len(given))} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        if status not in {411, 413}:
            connection.send(given)
        assert connection.getresponse().status == status
        connection.close()
        assert ask(running, "GET", "/schemas/ids/1", "", {})[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/schemas/ids/" + "9" * 5_000, 404),
        ("/schemas/ids/%D9%A3", 404),
        ("/subjects/labels-value/versions/" + "9" * 5_000, 422),
        ("/subjects/labels-value/versions/%D9%A1", 422),
    ],
)
def test_a_number_that_is_not_one_of_the_registrys_is_refused(
    server: RegistryServer, path: str, status: int
) -> None:
    assert ask(server, "GET", path, "", {})[0] == status


def test_what_is_not_read_of_a_body_is_not_the_next_request(server: RegistryServer) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 20) as client:
        head = f"POST {VERSIONS} HTTP/1.1\r\nContent-Length: {_BODY_MAX + 1}\r\n\r\n"
        client.sendall(head.encode() + b"GET /subjects HTTP/1.1\r\n\r\n")
        client.settimeout(20)
        answer = b""
        with suppress(ConnectionResetError):
            while part := client.recv(65_536):
                answer += part
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b" 413 " in answer.partition(b"\r\n")[0]


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "REQUEST_SECONDS", 0.5)
    with RegistryServer(directory) as running:
        address = urlsplit(running.url)
        with socket.create_connection((address.hostname or "", address.port or 0), 20) as slow:
            slow.sendall(b"GET /subjects HTTP/1.1\r\nX: ")
            began, closed = time.monotonic(), False
            while not closed and time.monotonic() - began < 20:
                try:
                    slow.sendall(b"x")
                    slow.settimeout(0.05)
                    closed = slow.recv(1) == b""
                except TimeoutError:
                    continue
                except OSError:
                    closed = True
        assert closed
        assert ask(running, "GET", "/schemas/ids/1", "", {})[0] == 200


def test_connections_past_the_limit_are_closed_and_others_served(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "CONNECTIONS_MOST", 4)
    with RegistryServer(directory) as running:
        address = urlsplit(running.url)
        place = (address.hostname or "", address.port or 0)
        held = [socket.create_connection(place, 20) for _ in range(4)]
        for each in held:
            each.sendall(b"GET /mode HTTP/1.1\r\nHost: x\r\n\r\n")
            assert each.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(place, 20) as further:
            assert further.recv(1) == b""
        for each in held:
            each.close()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                status, _ = ask(running, "GET", "/schemas/ids/1", "", {})
            except OSError:
                continue
            break
        assert status == 200


def test_subjects_whose_names_look_alike_keep_their_schemas(directory: Path) -> None:
    schemas = {"\u2028": '"string"', " 28": '"bytes"'}
    store = RegistryStore(directory, writable=True)
    found = {name: store.register(name, text) for name, text in schemas.items()}
    store.close()
    again = RegistryStore(directory, writable=False)
    for name, entry in found.items():
        (again_entry,) = again.by_id(entry.schema_id)
        assert json.loads(again_entry.schema) == json.loads(schemas[name])


def test_an_empty_folder_starts_as_a_copy_of_the_shipped_schemas(tmp_path: Path) -> None:
    seed(tmp_path / "volume")
    with RegistryServer(tmp_path / "volume", writable=True) as running:
        assert ask(running, "POST", VERSIONS, NEW, JSON)[0] == 200
    seed(tmp_path / "volume")
    with RegistryServer(tmp_path / "volume") as running:
        assert ask(running, "GET", VERSIONS.rpartition("/")[0] + "/versions/1", "", {})[0] == 200


def _answer(server: RegistryServer, method: str, target: str) -> tuple[int, str | None, bytes]:
    """Return status, Allow header and body."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.headers["Allow"], response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "DELETE", "PUT", "BREW", "get"])
def test_a_wrong_method_is_answered_with_those_of_the_path(
    server: RegistryServer, method: str
) -> None:
    # Without the token, because nothing would be written.
    for path, allowed in (
        ("/subjects", "GET, HEAD"),
        ("/subjects/new-value/versions", "GET, HEAD, POST"),
        ("/subjects/new-value", "POST"),
    ):
        status, allow, body = _answer(server, method, path)
        assert (status, allow) == (405, allowed)
        assert json.loads(body)["error_code"] == 405
    assert _answer(server, method, "/nothing")[:2] == (404, None)


def test_head_is_answered_as_get_without_a_body(server: RegistryServer) -> None:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.request("GET", "/subjects")
    length = len(connection.getresponse().read())
    connection.request("HEAD", "/subjects")
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Length"]) == (200, str(length))
    assert response.read() == b""
    # A body would be read as the next answer.
    connection.request("GET", "/schemas/ids/1")
    assert connection.getresponse().status == 200
    connection.close()
    assert _answer(server, "HEAD", "/subjects/nothing/versions")[::2] == (404, b"")
    assert _answer(server, "HEAD", "/subjects/nothing")[:2] == (405, "POST")


@pytest.mark.parametrize(
    ("subject", "status"),
    [
        ("a" * 5_000, 422), ("a" * 1_025, 422), ("a%00b", 422), ("a%0Ab", 422), ("%FF", 422),
        ("%ED%A0%80", 422), ("%1b]0;x", 422), ("a" * 1_024, 200), ("a" * 255, 200),
        ("%F0%9F%94%91" * 1_024, 200), ("..", 200), ("..%2F..%2Fx", 200), ("%25", 200),
    ],
)  # fmt: skip
def test_a_subject_is_printable_and_not_too_long(
    server: RegistryServer, directory: Path, subject: str, status: int
) -> None:
    headers = JSON | {"Authorization": f"Bearer {TOKEN}"}
    path = f"/subjects/{subject}/versions"
    assert ask(server, "POST", path, NEW, headers)[0] == status
    level = json.dumps({"compatibility": "NONE"})
    assert ask(server, "PUT", f"/config/{subject}", level, headers)[0] == status
    assert ask(server, "POST", f"/compatibility{path}", NEW, JSON)[0] == status
    known = [entry for entry in FileRegistry(directory).entries if entry.schema == '"long"\n']
    assert len(known) == (status == 200)
    assert {path.parent for path in directory.parent.rglob("*.avsc")} == {directory}


def test_long_subjects_that_begin_alike_have_separate_files(
    server: RegistryServer, directory: Path
) -> None:
    headers = JSON | {"Authorization": f"Bearer {TOKEN}"}
    for end, kind in (("x", "long"), ("y", "string")):
        body = json.dumps({"schema": f'"{kind}"'})
        path = f"/subjects/{'a' * 999}{end}/versions"
        assert ask(server, "POST", path, body, headers)[0] == 200
    found = {
        entry.schema.strip() for entry in FileRegistry(directory).entries if "aaa" in entry.subject
    }
    assert found == {'"long"', '"string"'}


@pytest.mark.parametrize("target", ["http://[/subjects", "http://[::1/"])
def test_a_target_that_is_not_a_url_is_refused(server: RegistryServer, target: str) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 20) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(65_536).split(b" ")[1] == b"400"
