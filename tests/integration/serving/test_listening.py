"""Where a server listens: TLS, Unix sockets, and addresses that cannot be used."""

import asyncio
import resource
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.grpc_server import GrpcServer
from stream_scorer.serving.server.http_server import HttpServer
from stream_scorer.serving.server.open_requests import OpenRequests
from stream_scorer.serving.settings.api import Serving
from tests.support.serving.certificates import TestAuthority
from tests.support.serving.example_part import ExampleGate, example_routes
from tests.support.serving.running_server import ROOT, running_server, until_closed

ASKED = b"GET /wait/0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


def application() -> Application:
    return Application(
        example_routes(), ExampleGate(), OpenRequests(9, 9), lambda _: None, body_seconds=5
    )


def refusal(**serving: object) -> str:
    with pytest.raises(SettingsError) as refused:
        HttpServer(Serving.model_validate({"port": 0} | serving), application())
    return str(refused.value)


def ask(port: int, context: ssl.SSLContext) -> tuple[bytes, str | None]:
    """Return the answer over TLS, and the version of TLS."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(ASKED)
        return until_closed(secure), secure.version()


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
def test_tls_has_a_minimum(authority: TestAuthority, minimum: str) -> None:
    certificate, key = authority.issue("server")
    with running_server(
        tls_certificate=str(certificate), tls_key=str(key), tls_minimum=minimum
    ) as server:
        assert server.lines[0].startswith("serving at https://127.0.0.1:")
        modern = ssl.create_default_context(cafile=authority.path)
        answer, version = ask(server.port, modern)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"strict-transport-security: max-age=31536000" in answer
        assert version == "TLSv1.3"
        older = ssl.create_default_context(cafile=authority.path)
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        if minimum == "1.2":
            assert ask(server.port, older)[1] == "TLSv1.2"
        else:
            with pytest.raises(ssl.SSLError):
                ask(server.port, older)
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.port, ssl.create_default_context())
        # Plain HTTP gets no answer.
        assert not server.exchange(ASKED).startswith(b"HTTP")
        assert server.stop() == 0


def test_clients_may_need_a_certificate(authority: TestAuthority, tmp_path: Path) -> None:
    certificate, key = authority.issue("server")
    proxies = TestAuthority(tmp_path, "proxies")
    known, forged = proxies.issue("proxy"), authority.issue("forged")
    with running_server(
        tls_certificate=str(certificate), tls_key=str(key), client_ca=str(proxies.path)
    ) as server:
        for issued, answered in ((known, b"HTTP/1.1 200 "), (forged, b""), (None, b"")):
            context = ssl.create_default_context(cafile=authority.path)
            if issued is not None:
                context.load_cert_chain(*issued)
            answer = b""
            with suppress(ssl.SSLError):
                answer = ask(server.port, context)[0]
            assert answer[:13] == answered
        assert server.stop() == 0
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("not a certificate")
    found = refusal(tls_certificate=certificate, tls_key=key, client_ca=damaged)
    assert f"serving.client_ca {damaged}" in found


def test_unfinished_handshakes_hold_no_one_up(authority: TestAuthority) -> None:
    certificate, key = authority.issue("server")
    with running_server(
        tls_certificate=str(certificate), tls_key=str(key), connections_max=16
    ) as server:
        silent = [server.connect() for _ in range(200)]
        context = ssl.create_default_context(cafile=authority.path)
        assert ask(server.port, context)[0].startswith(b"HTTP/1.1 200 ")
        for each in silent:
            each.close()
        assert server.stop() == 0


@pytest.mark.thorough
def test_a_server_without_descriptors_ends(authority: TestAuthority) -> None:
    certificate, key = authority.issue("server")
    with running_server(
        tls_certificate=str(certificate), tls_key=str(key), connections_max=16, drain_seconds=1.0
    ) as server:
        limit = (100, 100)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limit)
        silent = [server.connect() for _ in range(150)]
        assert server.process.wait(60) == UnavailableError.exit_code
        assert "no file descriptor has been free" in server.written()
        for each in silent:
            each.close()


def test_a_limit_of_files_that_is_too_low_is_refused() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n"
        "from stream_scorer.serving.server.descriptors import allow_descriptors\n"
        "allow_descriptors(44); allow_descriptors(45)"
    )
    ended = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "connections_max 45: the process may open only 300 files" in ended.stderr


@pytest.fixture
def short() -> Iterator[Path]:
    """Yield a path that is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


def ask_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(ASKED)
        return until_closed(client)


def test_a_unix_socket_is_for_its_group_only(short: Path) -> None:
    with running_server(unix_socket=str(short)) as server:
        assert server.lines == [f"serving at unix:{short}"]
        assert stat.S_IMODE(short.stat().st_mode) == 0o660
        assert ask_unix(short).startswith(b"HTTP/1.1 200 ")
        assert "another server listens" in refusal(unix_socket=short)
        assert server.stop() == 0
        assert not short.exists()


def test_the_socket_of_a_killed_server_is_replaced(short: Path) -> None:
    with running_server(unix_socket=str(short)) as server:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(60)
    assert short.is_socket()
    with running_server(unix_socket=str(short)) as server:
        assert ask_unix(short).startswith(b"HTTP/1.1 200 ")


def test_a_file_that_is_not_a_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    assert "exists and is not a socket" in refusal(unix_socket=path)
    assert path.read_text() == "data"
    assert "no such folder" in refusal(unix_socket=tmp_path / "a" / "b")


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        assert "Address already in use" in refusal(port=taken.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    assert f"serving {host}:0: " in refusal(host=host)


def test_a_certificate_that_cannot_be_used_is_named(
    authority: TestAuthority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("server")
    _, other = authority.issue("other")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("not a certificate")
    for files in ((certificate, other), (damaged, key), (tmp_path / "missing", key)):
        found = refusal(tls_certificate=files[0], tls_key=files[1])
        assert str(files[0]) in found
        assert "PRIVATE" not in found


def test_a_grpc_port_in_use_is_refused() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings = Serving(grpc_port=taken.getsockname()[1])
            with pytest.raises(SettingsError, match="cannot be bound"):
                GrpcServer(settings, [])

    asyncio.run(run())


def test_without_its_extra_the_command_names_it() -> None:
    program = (
        "import sys; sys.modules['granian'] = None\n"
        "from stream_scorer.cli.main import main\n"
        "sys.argv = ['stream-scorer', 'serve']; main()"
    )
    ended = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "granian is missing — install stream-scorer with its extra `http`" in ended.stderr
