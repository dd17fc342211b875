"""Hostile gRPC calls to a real ``stream-scorer serve``: each has its documented code."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import grpc
import pytest

from tests.support.hostile.credentials import STRANGER, hmac_with, unsigned
from tests.support.hostile.registry import CLIENTS, ELSEWHERE, ask_well
from tests.support.openapi.served_api import ServedApi, fresh_claims, served_api

SERVICE = "/inference.GRPCInferenceService"
METADATA = f"{SERVICE}/ServerMetadata"
SECONDS = 60.0
Code = grpc.StatusCode
Sent: TypeAlias = tuple[str, bytes, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    folder = tmp_path_factory.mktemp("api")
    with served_api(folder, serving={"grpc_port": 0}, clients=CLIENTS, lines=2) as started:
        yield started
        assert started.process.poll() is None
        assert ask_well(started) == 200
        assert started.stop() == 0
        assert "Traceback" not in started.written()
        assert "access.certificate-forged" in (folder / "audit.log").read_text()


def bearer(credential: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {credential}")]


def hostile(api: ServedApi) -> dict[str, tuple[grpc.StatusCode, Sent]]:
    """Return calls by their cause, with the documented code of each."""
    key = bearer(api.keys["shop"])
    subject = [("x-client-certificate-subject", "CN=shop")]
    verified = [("x-client-certificate-verified", "SUCCESS")]
    no = Code.UNAUTHENTICATED
    return {
        "no credential": (no, (METADATA, b"", [])),
        "a forged subject": (no, (METADATA, b"", [*subject, *verified])),
        "a forged subject next to a valid key": (no, (METADATA, b"", [*key, *subject])),
        "a forged verification alone": (no, (METADATA, b"", [*key, *verified])),
        "two credentials": (no, (METADATA, b"", [*key, *bearer("x")])),
        "an unsigned token": (no, (METADATA, b"", bearer(unsigned("none")(api)))),
        "an HMAC with the public key": (
            no, (METADATA, b"", bearer(hmac_with(lambda a: a.issuer.public_pem("rsa"))(api)))
        ),
        "a token of another key": (
            no, (METADATA, b"", bearer(STRANGER.token("ec", **fresh_claims())))
        ),
        "a token for another audience": (no, (METADATA, b"", bearer(api.token(aud="other")))),
        "a disabled client": (no, (METADATA, b"", bearer(api.keys["disabled"]))),
        "without the scope": (
            Code.PERMISSION_DENIED, (METADATA, b"", bearer(api.keys["operator"]))
        ),
        "an unknown method": (Code.UNIMPLEMENTED, (f"{SERVICE}/Shutdown", b"", key)),
        "a message of 5 MB": (Code.RESOURCE_EXHAUSTED, (METADATA, b"\n" * 5_000_000, key)),
        "a page's origin": (
            Code.PERMISSION_DENIED, (METADATA, b"", [*key, ("origin", "https://evil.example")])
        ),
    }  # fmt: skip


def test_a_hostile_call_is_refused(api: ServedApi) -> None:
    cases = hostile(api)
    found: dict[str, Any] = {}
    with grpc.insecure_channel(f"127.0.0.1:{api.grpc_port}") as channel:
        for cause, (_, (method, message, metadata)) in cases.items():
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(method)(message, metadata=metadata, timeout=SECONDS)
            found[cause] = refused.value.code()
            assert (refused.value.details() or "").isprintable()
            good = bearer(api.keys["shop"])
            assert channel.unary_unary(METADATA)(b"", metadata=good, timeout=SECONDS)
    assert found == {cause: code for cause, (code, _) in cases.items()}
    (counted,) = (each.cases for each in ELSEWHERE if each.file.endswith("test_hostile_calls.py"))
    assert counted == len(cases)
