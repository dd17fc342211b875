"""The API behind a real nginx: nothing is smuggled, and no forged subject passes.

``make test-proxy`` runs it; it needs nginx (``apt-get install nginx-light``).
"""

import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hostile.bodies_and_paths import GOOD, INFER
from tests.support.hostile.nginx import Nginx, running_nginx
from tests.support.hostile.registry import ELSEWHERE
from tests.support.openapi.served_api import MODEL, ServedApi, served_api
from tests.support.serving.access import clients_in
from tests.support.serving.certificates import TestAuthority
from tests.support.serving.running_server import wait_until

pytestmark = pytest.mark.proxy

SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Behind:
    """The API, nginx in front of it, and certificates."""

    api: ServedApi
    nginx: Nginx
    authority: TestAuthority
    stranger: TestAuthority

    def post(self, fields: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
        """Return a request with a valid key, and what follows it."""
        return b"".join([
            b"POST ", INFER.encode(), b" HTTP/", version, b"\r\nHost: localhost\r\n",
            b"Authorization: ", self.api.credential().encode(), b"\r\n",
            b"Content-Type: application/json\r\n", fields, b"\r\n", body,
        ])  # fmt: skip

    def served(self) -> list[str]:
        """Return the routes of the requests that the API has answered so far."""
        lines = [each for each in self.api.written().splitlines() if each.startswith("{")]
        events = [json.loads(each) for each in lines]
        return [each["route"] for each in events if each["event"] == "request_served"]

    def metadata(self, context: ssl.SSLContext | None, **fields: str) -> int:
        """Ask for a model's metadata over TLS, or without it; return the status."""
        opened = (
            http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=60)
            if context is None
            else http.client.HTTPSConnection(
                "127.0.0.1", self.nginx.tls_port, timeout=60, context=context
            )
        )
        try:
            named = {name.replace("__", "-"): value for name, value in fields.items()}
            opened.request("GET", f"/v2/models/{MODEL}", headers=named)
            return opened.getresponse().status
        finally:
            opened.close()

    def context(self, issuer: TestAuthority | None = None, name: str = "till") -> ssl.SSLContext:
        """Return TLS of a client, with a certificate or without one."""
        made = ssl.create_default_context(cafile=self.authority.path)
        if issuer is not None:
            made.load_cert_chain(*issuer.issue(name))
        return made


def till(folder: Path) -> dict[str, str]:
    """Add a client with a certificate."""
    subjects = ["CN=till"]
    clients_in(folder).add("till", with_key=False, scopes=["score"], certificate_subjects=subjects)
    return {}


@pytest.fixture(scope="module", params=[True, False], ids=["buffered", "unbuffered"])
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("api")
    # A socket's path is short.
    short = Path(tempfile.mkdtemp(prefix="nginx-"))
    short.chmod(0o755)
    authority = TestAuthority(folder, "ca")
    (folder / "others").mkdir()
    stranger = TestAuthority(folder / "others", "ca")
    certificate, key = authority.issue("proxy")
    settings = {
        "access_log": True, "unix_socket": str(short / "api.sock"), "body_seconds": 2.0,
        "access": {"certificate_peers": ["unix"]},
    }  # fmt: skip
    with (
        served_api(folder, serving=settings, clients=till) as api,
        running_nginx(
            short, short / "api.sock", certificate, key, authority.path, buffering=request.param
        ) as nginx,
    ):
        (short / "api.sock").chmod(0o666)
        yield Behind(api, nginx, authority, stranger)
        assert api.process.poll() is None
        assert "Traceback" not in api.written()
    shutil.rmtree(short)


def smuggling(behind: Behind) -> dict[str, bytes]:
    """Return requests by whose ends two programs could disagree."""
    length = b"Content-Length: %d\r\n" % len(GOOD)
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    return {
        "length and chunks": behind.post(length + CHUNKED, whole + SMUGGLED),
        "chunks and length": behind.post(CHUNKED + b"Content-Length: 6\r\n", whole + SMUGGLED),
        "chunks after a tab": behind.post(
            length + b"Transfer-Encoding:\tchunked\r\n", GOOD + SMUGGLED
        ),
        "chunks in another case": behind.post(
            length + b"tRANSFER-eNCODING: CHUNKED\r\n", whole + SMUGGLED
        ),
        "chunks behind a name with a blank": behind.post(
            length + b"Transfer-Encoding : chunked\r\n", GOOD + SMUGGLED
        ),
        "an unknown coding": behind.post(
            length + b"Transfer-Encoding: xchunked\r\n", GOOD + SMUGGLED
        ),
        "two codings": behind.post(
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", whole + SMUGGLED
        ),
        "two lengths": behind.post(length + b"Content-Length: 0\r\n", GOOD + SMUGGLED),
        "a length with a sign": behind.post(
            b"Content-Length: +%d\r\n" % len(GOOD), GOOD + SMUGGLED
        ),
        "a chunk with a longer body": behind.post(
            CHUNKED, b"2\r\n%b\r\n0\r\n\r\n" % GOOD + SMUGGLED
        ),
        "chunks with an extension": behind.post(
            CHUNKED, b'%x;a="\r\n%b\r\n0\r\n\r\n' % (len(GOOD), GOOD) + SMUGGLED
        ),
        "chunks in HTTP/1.0": behind.post(CHUNKED, whole + SMUGGLED, b"1.0"),
    }  # fmt: skip


GET, POST = "GET /v2/health/live", "POST /v2/models/{name}/infer"


def test_nothing_is_smuggled_behind_nginx(behind: Behind) -> None:
    cases = smuggling(behind)
    for cause, sent in cases.items():
        behind.nginx.exchange(sent)
        good = behind.nginx.exchange(
            behind.post(b"Connection: close\r\nContent-Length: %d\r\n" % len(GOOD), GOOD)
        )
        assert good.startswith(b"HTTP/1.1 200 "), cause
        # Both write their line once a request has ended.
        wait_until(lambda: behind.served().count(GET) == behind.nginx.forwarded().count("GET"))
        posts = behind.served().count(POST), behind.nginx.forwarded().count("POST")
        assert posts[0] <= posts[1] + 1, cause
    (counted,) = (e.cases for e in ELSEWHERE if e.test == "test_nothing_is_smuggled_behind_nginx")
    assert counted == len(cases)


def test_a_forged_subject_does_not_pass_nginx(behind: Behind) -> None:
    subject, verified = "x__client__certificate__subject", "x__client__certificate__verified"
    forged = {subject: "CN=till", verified: "SUCCESS"}
    found = {
        "without TLS": behind.metadata(None, **forged),
        "without a certificate": behind.metadata(behind.context(), **forged),
        "another CA's certificate": behind.metadata(behind.context(behind.stranger), **forged),
        "another subject": behind.metadata(behind.context(behind.authority, "guest"), **forged),
        "underscores for hyphens": behind.metadata(
            behind.context(), x_client_certificate_subject="CN=till",
            x_client_certificate_verified="SUCCESS",
        ),
        "only the subject": behind.metadata(behind.context(), **{subject: "CN=till"}),
    }  # fmt: skip
    # nginx itself refuses a certificate of another CA.
    assert found == dict.fromkeys(found, 401) | {"another CA's certificate": 400}
    assert behind.metadata(behind.context(behind.authority)) == 200
    assert behind.metadata(None, authorization=behind.api.credential()) == 200
    (counted,) = (e.cases for e in ELSEWHERE if e.file.endswith("nginx.py") and "forged" in e.test)
    assert counted == len(found)
