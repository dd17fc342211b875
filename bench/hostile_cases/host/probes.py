"""Requests to the metrics and probe server, which runs inside the scorer."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from bench.hostile_cases.case import NotThereError, Place, cases, entry
from bench.hostile_cases.host.requests import asked, endpoint, held, seconds_open, status

_LIVE: Final = b"GET /health/live HTTP/1.0\r\n\r\n"
_HEALTH: Final = SimpleNamespace(
    live=True, silent_seconds=0.0, reasons=lambda: ["broker: SECRET"], degraded=list
)


def _serving(case: Callable[[int], str], **http: Any) -> Callable[[Place], str]:
    """Run a case against an endpoint; the case gets the port."""

    def run(place: Place) -> str:
        if not set(http) <= set(entry("stream_scorer.settings", "Http").model_fields):
            raise NotThereError(f"settings {', '.join(http)}")
        given = {name: value(place) if callable(value) else value for name, value in http.items()}
        with endpoint(_HEALTH, **given) as server:
            return case(server.port)

    return run


def _raw(data: bytes) -> Callable[[int], str]:
    return lambda port: status(asked(port, data))


def _crowd(count: int, first: bytes = b"") -> Callable[[int], str]:
    """Fill the server, then ask from another address."""

    def run(port: int) -> str:
        before = threading.active_count()
        with held(port, count, first):
            code = status(asked(port, _LIVE, source="127.0.0.2"))
            more = threading.active_count() - before
        return f"{code} with {'few' if more <= 9 else more} threads"

    return run


def _slow(port: int) -> str:
    took = seconds_open(port, [b"G", *([b"E"] * 40)], 0.25, 9.0)
    return "closed in time" if took < 7.5 else f"open for {took:.1f} s"


def _silent(port: int) -> str:
    took = seconds_open(port, [b""] * 40, 0.25, 9.0)
    return "closed in time" if took < 7.5 else f"open for {took:.1f} s"


def _certificate(place: Place) -> Any:
    """Write a certificate and its key; return the certificate's path."""
    import datetime as dt  # noqa: PLC0415 only here

    from cryptography import x509  # noqa: PLC0415 only here
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 only here
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 only here

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(1).not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    (place.folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
    (place.folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return place.folder / "certificate.pem"


def _plain_to_tls(port: int) -> str:
    """Speak plain HTTP where TLS is served, many times."""
    answers = {status(asked(port, _LIVE)) for _ in range(20)}
    return f"{sorted(answers)}"


def _with_token(authorization: bytes, path: bytes = b"/metrics") -> Callable[[int], str]:
    def run(port: int) -> str:
        found = asked(port, b"GET " + path + b" HTTP/1.0\r\n" + authorization + b"\r\n")
        return status(found) + (" with the reasons" if b"SECRET" in found else "")

    return run


_TOKEN: Final = {"token": "a-long-token-of-the-operator-0123456789"}
CASES: Final = cases(
    "probe", 16,
    ("100 silent connections", "threads", "200 with few threads", _serving(_crowd(100))),
    ("100 connections with half a request", "threads", "200 with few threads",
     _serving(_crowd(100, b"GET /metrics HTTP/1.1\r\nX: "))),
    ("a byte every quarter of a second", "seconds", "closed in time", _serving(_slow)),
    ("a connection that never says a word", "seconds", "closed in time", _serving(_silent)),
    ("a request line of 20 KB", "head", "431",
     _serving(_raw(b"GET /" + b"a" * 20_000 + b" HTTP/1.0\r\n\r\n"))),
    ("30 KB of header fields", "head", "431", _serving(_raw(b"GET /metrics HTTP/1.0\r\n"
     + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1_000) for n in range(30))
     + b"\r\n"))),
    ("5,000 empty header fields", "head", "431",
     _serving(_raw(b"GET /metrics HTTP/1.0\r\n" + b"a:\r\n" * 5_000 + b"\r\n"))),
    ("a POST with a body of 1 GB announced", "get-only", "(501|405)",
     _serving(_raw(b"POST /metrics HTTP/1.0\r\nContent-Length: 1000000000\r\n\r\n"))),
    ("a path that climbs", "get-only", "404",
     _serving(_raw(b"GET /../../etc/passwd HTTP/1.0\r\n\r\n"))),
    ("bytes that are not HTTP", "get-only", "(400|no answer|an answer without a status)",
     _serving(_raw(b"\x16\x03\x01\x02\x00\xff\xfe\r\n\r\n"))),
    ("metrics without the token", "token", "401$", _serving(_with_token(b""), **_TOKEN)),
    ("metrics with another token", "token", "401$",
     _serving(_with_token(b"Authorization: Bearer nothing\r\n"), **_TOKEN)),
    ("the token in another scheme", "token", "401$",
     _serving(_with_token(b"Authorization: Basic " + _TOKEN["token"].encode() + b"\r\n"),
     **_TOKEN)),
    ("a token in Latin-1", "token", "401$",
     _serving(_with_token(b"Authorization: Bearer \xe9\xff\r\n"), **_TOKEN)),
    ("the reasons without the token", "token", "503$",
     _serving(_with_token(b"", b"/health/ready"), **_TOKEN)),
    ("plain HTTP where TLS is served", "tls", r"\['no answer'\]",
     _serving(_plain_to_tls, tls_certificate=_certificate,
     tls_key=lambda place: place.folder / "key.pem")),
)  # fmt: skip
