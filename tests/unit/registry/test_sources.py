import base64
import datetime as dt
import ipaddress
import json
import shutil
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from stream_scorer.errors import RegistryUnavailableError, SchemaError, SettingsError
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.server import RegistryServer
from stream_scorer.registry.sources import FileRegistry, open_registry, reader_schema, registered
from stream_scorer.settings import SCHEMAS_DIRECTORY, Registry
from tests.support.registry.fake_registry import LONG, UNKNOWN, Clock, Reply, answering


def test_a_known_id_is_requested_once_an_unknown_one_again_later() -> None:
    asked: list[str] = []
    replies = {"/schemas/ids/1": LONG, "/schemas/ids/2": UNKNOWN}

    def reply(request: BaseHTTPRequestHandler) -> Reply:
        asked.append(request.path)
        return replies[request.path]

    clock = Clock()
    with answering(reply) as url:
        registry = HttpRegistry(Registry(url=url, negative_cache_seconds=30), clock)
        for _ in range(3):
            assert registry.writer_schema(1) == '"long"'
            with pytest.raises(SchemaError, match="schema id 2"):
                registry.writer_schema(2)
        assert asked == ["/schemas/ids/1", "/schemas/ids/2"]
        replies["/schemas/ids/2"] = LONG
        clock.now = 29.9
        with pytest.raises(SchemaError):
            registry.writer_schema(2)
        clock.now = 30.0
        assert registry.writer_schema(2) == '"long"'


@pytest.mark.parametrize(
    "outage",
    [
        (500, {"error_code": 50001, "message": "store"}),
        (503, b"busy"),
        (404, b"<html>a proxy</html>"),
        (401, {"error_code": 401, "message": "who"}),
        (200, b"not JSON"),
        (200, []),
    ],
)
def test_an_outage_is_reported_as_one_and_not_cached(outage: Reply) -> None:
    replies = [outage, LONG]
    with answering(lambda _: replies.pop(0)) as url:
        registry = HttpRegistry(Registry(url=url))
        with pytest.raises(RegistryUnavailableError, match=url) as caught:
            registry.writer_schema(1)
        assert "\n" not in str(caught.value)
        assert registry.writer_schema(1) == '"long"'


def test_a_registry_that_is_not_there_or_silent_is_an_outage() -> None:
    silent = threading.Event()

    def reply(_: BaseHTTPRequestHandler) -> Reply:
        silent.wait(20)
        return LONG

    with answering(reply) as url:
        with pytest.raises(RegistryUnavailableError, match=url):
            HttpRegistry(Registry(url=url, timeout_seconds=0.05)).writer_schema(1)
        silent.set()
    with pytest.raises(RegistryUnavailableError, match=url):
        HttpRegistry(Registry(url=url)).writer_schema(1)


@pytest.mark.parametrize(("answer", "error"), [(LONG, None), (UNKNOWN, SchemaError)])
def test_threads_that_want_one_id_share_one_request(
    answer: Reply, error: type[Exception] | None
) -> None:
    asked: list[str] = []
    arrived, leave = threading.Event(), threading.Event()

    def reply(request: BaseHTTPRequestHandler) -> Reply:
        if not request.path.endswith("/1"):
            return LONG
        asked.append(request.path)
        arrived.set()
        assert leave.wait(20)
        return answer

    with answering(reply) as url, ThreadPoolExecutor(8) as pool:
        registry = HttpRegistry(Registry(url=url, negative_cache_seconds=0))
        first = pool.submit(registry.writer_schema, 1)
        assert arrived.wait(20)
        started = threading.Barrier(5)

        def ask() -> str:
            started.wait(20)
            return registry.writer_schema(1)

        waiting = [pool.submit(ask) for _ in range(4)]
        started.wait(20)
        # A request for another id does not wait for the first one.
        assert registry.writer_schema(2) == '"long"'
        leave.set()
        for future in (first, *waiting):
            if error is None:
                assert future.result(20) == '"long"'
            else:
                assert isinstance(future.exception(20), error)
        if error is None:
            assert asked == ["/schemas/ids/1"]


def test_credentials_are_sent() -> None:
    seen: list[str | None] = []

    def reply(request: BaseHTTPRequestHandler) -> Reply:
        seen.append(request.headers.get("Authorization"))
        return LONG

    with answering(reply) as url:
        HttpRegistry(Registry(url=url, user="me", password=SecretStr("p:w"))).writer_schema(1)
    assert seen == [f"Basic {base64.b64encode(b'me:p:w').decode()}"]


def test_schemas_that_are_not_avro_or_have_references_are_parsed() -> None:
    money = {"type": "record", "name": "Money", "namespace": "n", "fields": [
        {"name": "minor", "type": "long"}]}  # fmt: skip
    user = {"type": "record", "name": "R", "namespace": "n", "fields": [
        {"name": "a", "type": "Money"}, {"name": "b", "type": ["null", "n.Money"]}]}  # fmt: skip
    reference = [{"name": "n.Money", "subject": "money", "version": 1}]
    replies: dict[str, Reply] = {
        "/schemas/ids/1": (200, {"schema": "syntax", "schemaType": "PROTOBUF"}),
        "/schemas/ids/2": (200, {"schema": json.dumps(user), "references": reference}),
        "/subjects/money/versions/1": (
            200, {"schema": json.dumps(money), "id": 3, "version": 1, "subject": "money"},
        ),
    }  # fmt: skip
    missing: Reply = (404, {"error_code": 40402, "message": "Version not found."})
    with answering(lambda request: replies.get(request.path.split("?")[0], missing)) as url:
        registry = HttpRegistry(Registry(url=url))
        with pytest.raises(SchemaError, match="PROTOBUF"):
            registry.writer_schema(1)
        joined = json.loads(registry.writer_schema(2))
        assert registered(registry, "money", 1) == (3, json.dumps(money))
        with pytest.raises(SchemaError, match="subject money: has no version 2"):
            registered(registry, "money", 2)
    assert joined["fields"][0]["type"] == money
    assert joined["fields"][1]["type"] == ["null", "n.Money"]


def certificate(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for loopback: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = directory / "ca.pem", directory / "key.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


def test_a_registry_over_tls_is_trusted_by_its_ca_file_only(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    running = RegistryServer(SCHEMAS_DIRECTORY)
    running._server.socket = context.wrap_socket(running._server.socket, server_side=True)
    # The server ignores clients that refuse its certificate.
    running._server.handle_error = lambda *_: None  # type: ignore[method-assign]
    with running:
        url = running.url.replace("http:", "https:")
        trusted = HttpRegistry(Registry(url=url, ca_file=pem))
        assert "Transaction" in trusted.writer_schema(1)
        with pytest.raises(RegistryUnavailableError, match="CERTIFICATE"):
            HttpRegistry(Registry(url=url)).writer_schema(1)


def test_a_url_or_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"registry\.url"):
        open_registry(Registry(url="registry:8081"))
    for content in (None, "no certificate"):
        path = tmp_path / "ca.pem"
        if content:
            path.write_text(content)
        with pytest.raises(SettingsError, match=r"registry\.ca_file"):
            open_registry(Registry(url="https://localhost:1", ca_file=path))


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (None, "registry.json"),
        ("{", "not JSON"),
        ("[]", "needs a list"),
        ('{"schemas": [{"id": 1}]}', "has no id, subject, version or file"),
        ({"id": "1"}, "whole numbers from 1"),
        ({"id": 0}, "whole numbers from 1"),
        ({"file": "none.avsc"}, "none.avsc"),
        ({"file": "bad.avsc"}, "bad.avsc"),
        ({"file": "label.v1.avsc", "version": 2}, "id 1 is used for two schemas"),
        ({"id": 2}, "has version 1 twice"),
    ],
)
def test_a_directory_that_is_not_a_registry_is_refused(
    tmp_path: Path, index: Any, text: str
) -> None:
    directory = Path(shutil.copytree(SCHEMAS_DIRECTORY, tmp_path / "schemas"))
    (directory / "bad.avsc").write_text('{"type": "record"}')
    first = {"id": 1, "subject": "s", "version": 1, "file": "transaction.v1.avsc"}
    path = directory / "registry.json"
    if index is None:
        path.unlink()
    elif isinstance(index, str):
        path.write_text(index)
    else:
        path.write_text(json.dumps({"schemas": [first, first | index]}))
    with pytest.raises(SchemaError) as caught:
        FileRegistry(directory)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reader_schema_that_is_not_there_is_named() -> None:
    with pytest.raises(SchemaError, match=r"none\.v1\.avsc"):
        reader_schema("none.v1")


def test_the_server_survives_requests_that_no_client_sends() -> None:
    with RegistryServer(SCHEMAS_DIRECTORY) as running:
        connection = HTTPConnection(running.url.removeprefix("http://"), timeout=20)
        path = "/subjects/labels-value"
        for method, target, body, status in (
            ("GET", "/nothing", None, 404),
            ("GET", "/schemas/ids/x", None, 404),
            ("POST", "/subjects", "{}", 405),
            ("POST", path, "{", 400),
            ("POST", path, "[]", 400),
            ("POST", path, "{}", 422),
            ("POST", path, '{"schema": 3}', 422),
            ("POST", path, '{"schema": "\\"long\\"", "references": [{}]}', 422),
            ("GET", "/", None, 200),
            ("GET", "/subjects/a%2Fb/versions", None, 404),
        ):
            kind = {"Content-Type": "application/json"} if body else {}
            connection.request(method, target, body, kind)
            response = connection.getresponse()
            document = json.loads(response.read())
            assert response.status == status, (method, target, body)
            assert status == 200 or document["message"]
            assert response.headers["Content-Type"] == "application/vnd.schemaregistry.v1+json"
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(1 << 30))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_a_port_that_is_taken_is_named() -> None:
    with RegistryServer(SCHEMAS_DIRECTORY) as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(SettingsError, match=str(port)):
            RegistryServer(SCHEMAS_DIRECTORY, port=port)
