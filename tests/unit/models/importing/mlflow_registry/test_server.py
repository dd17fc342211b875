"""Requests to an MLflow server over HTTP: MLflow's client, against a hostile server."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stream_scorer.errors import ModelError, SettingsError, UnavailableError
from stream_scorer.models.importing.mlflow_registry.server import MlflowServer, open_server

PATH = "/api/2.0/mlflow/runs/get"


@dataclass(slots=True)
class Web:
    """A server that answers as a function does.

    Attributes:
        address: Its address.
        seen: Path and headers of each request.
    """

    address: str = ""
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def web(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[Web]:
    found = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.seen.append((self.path, dict(self.headers)))
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sends(
    body: bytes = b"{}", status: int = 200, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    return answer


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def refused(server: MlflowServer, kind: type[Exception]) -> str:
    with pytest.raises(kind) as error:
        server.get(PATH, {}, 100)
    assert str(error.value).isprintable()
    return str(error.value)


def test_a_request_has_the_parameters_and_the_users_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-of-ada")
    with web(sends(b'{"run": 1}')) as found:
        server = open_server({"MLFLOW_TRACKING_URI": f"{found.address}/"})
        assert server.get(PATH, {"run_id": "a b&c"}, 100) == b'{"run": 1}'
        assert server.shown == found.address
        assert server.host == found.address.removeprefix("http://")
    ((path, headers),) = found.seen
    assert path in {f"{PATH}?run_id=a+b%26c", f"{PATH}?run_id=a%20b%26c"}
    assert headers["Authorization"] == "Bearer token-of-ada"
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token-of-ada")
    with web(sends()) as other, web(sends(b"", status, Location=other.address)) as found:
        told = refused(MlflowServer(found.address), UnavailableError)
        assert "redirects to another address, which is not followed" in told
        assert (len(found.seen), other.seen) == (1, [])


@pytest.mark.parametrize("status", [400, 404])
def test_what_the_server_does_not_have_is_none(status: int) -> None:
    with web(sends(b"x" * 1_000, status)) as found:
        assert MlflowServer(found.address).get(PATH, {}, 100) is None


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_name_their_variables(status: int) -> None:
    with web(sends(b"", status)) as found:
        told = refused(MlflowServer(found.address), SettingsError)
    assert f"refuses the credentials (status {status}) — set MLFLOW_TRACKING_TOKEN" in told


@pytest.mark.parametrize("status", [204, 429, 500, 503])
def test_another_status_ends_the_command_without_waiting(status: int) -> None:
    begun = time.monotonic()
    with web(sends(b"", status, Retry_After="86400")) as found:
        told = refused(MlflowServer(found.address), UnavailableError)
        assert len(found.seen) == 1
    assert f"answers with status {status} — try again when it answers" in told
    assert time.monotonic() - begun < 60


def test_an_answer_is_read_up_to_its_limit() -> None:
    sent = [0]

    def endless(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.end_headers()
        try:
            while sent[0] < 1 << 30:
                sent[0] += to.wfile.write(b"x" * 65_536)
        except OSError:
            pass

    with web(sends(b"x" * 100)) as found:
        assert MlflowServer(found.address).get(PATH, {}, 100) == b"x" * 100
    with web(sends(b"x" * 101)) as found:
        told = refused(MlflowServer(found.address), ModelError)
    assert f"the answer to {PATH} is larger than 100 bytes" in told
    with web(endless) as found:
        assert "is larger than 100 bytes" in refused(MlflowServer(found.address), ModelError)
    assert sent[0] < 64 * 1024 * 1024


def test_a_compressed_answer_is_refused() -> None:
    with web(sends(b"\x1f\x8b", Content_Encoding="gzip")) as found:
        told = refused(MlflowServer(found.address), UnavailableError)
    assert "sends a compressed answer, which was not asked for" in told


def test_an_answer_that_ends_early_is_an_outage() -> None:
    with web(sends(b"x", Content_Length="50")) as found:
        told = refused(MlflowServer(found.address), UnavailableError)
    assert "the answer ended early" in told


def test_a_server_that_does_not_run_is_named_in_one_line() -> None:
    with web(sends()) as found:
        address = found.address
    assert refused(MlflowServer(address), UnavailableError) == (
        f"MLflow server {address}: cannot be reached (Connection refused) — try again when it "
        "answers"
    )


def test_without_the_extra_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for name in [name for name in sys.modules if name.startswith("mlflow.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SettingsError, match="needs the extra mlflow — install stream-scorer with"):
        MlflowServer("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "variable MLFLOW_TRACKING_URI: is not set"),
        ({"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, "not the address of a server"),
        ({"MLFLOW_TRACKING_URI": "./mlruns"}, "not the address of a server"),
        ({"MLFLOW_TRACKING_URI": "databricks"}, "not the address of a server"),
        ({"MLFLOW_TRACKING_URI": "http://[::1"}, "not the address of a server"),
        ({"MLFLOW_TRACKING_URI": "http://a\x1b"}, "not the address of a server"),
        ({"MLFLOW_TRACKING_URI": "http://a:port"}, "not the address of a server"),
        (
            {"MLFLOW_TRACKING_URI": "http://a", "MLFLOW_REGISTRY_URI": "http://b"},
            "variable MLFLOW_REGISTRY_URI: differs",
        ),
    ],
)
def test_variables_that_name_no_server_are_refused(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_server(variables)
    assert named in str(error.value)
    assert str(error.value).isprintable()


def test_no_message_has_the_password_of_an_address() -> None:
    server = MlflowServer("https://ada:secret-word@mlflow.example:8443/base/")
    assert (server.shown, server.host) == (
        "https://mlflow.example:8443/base", "mlflow.example:8443",
    )  # fmt: skip
