"""Certificates: a subject counts only from a configured proxy, or from gRPC's own connection."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stream_scorer.serving.access.certificates import subject_of_connection
from stream_scorer.serving.access.opening import ListenAddress
from stream_scorer.serving.web.messages import Caller
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.access import GateAtWork, access_settings, clients_in, make_key

SUBJECT = "CN=shop,O=Bank AG,C=DE"
CALLER = Caller("shop", frozenset({"score"}), "certificate")


def settings(folder: Path, **access: Any) -> Any:
    clients_in(folder).add(
        "shop", with_key=False, scopes=["score"], certificate_subjects=(SUBJECT,)
    )
    table = {"clients_file": str(folder / "clients.json"), "certificate_peers": ["unix"]}
    return access_settings(folder, table | access)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[GateAtWork]:
    made = GateAtWork(settings(tmp_path, failures_per_minute=1_000))
    yield made
    made.opened.close()


def named(subject: str, verified: str | None = "SUCCESS") -> dict[str, str]:
    table = {"x_client_certificate_subject": subject}
    return table if verified is None else table | {"x_client_certificate_verified": verified}


def audit_lines(folder: Path) -> list[Any]:
    path = folder / "audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_proxy_names_the_subject(gate: GateAtWork) -> None:
    assert gate.admit("unix", **named(SUBJECT)) == CALLER


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.7", "", "unix:", "UNIX", "unknown"])
def test_the_header_of_another_peer_is_a_forgery(
    gate: GateAtWork, tmp_path: Path, peer: str
) -> None:
    key = make_key(tmp_path, "bank")
    gate.opened.tick()
    valid = {"authorization": f"Bearer {key}"}
    gate.admit(peer, **valid)
    forgeries = (
        named(SUBJECT),
        named(SUBJECT, None),
        named(""),
        # Never ignored, not even next to a valid key.
        named(SUBJECT) | valid,
        {"x_client_certificate_verified": "SUCCESS"} | valid,
        {"x_client_certificate_verified": "NONE"},
    )
    for headers in forgeries:
        with pytest.raises(Problem) as found:
            gate.admit(peer, **headers)
        assert found.value.status == 401
        assert gate.refusals[-1] == "certificate_forged"
    gate.opened.tick()
    (line,) = audit_lines(tmp_path)
    assert line["action"] == "access.certificate-forged"
    assert line["actor"] == "api"
    assert line["details"] == {"count": len(forgeries)}


@pytest.mark.parametrize("verified", [None, "", "NONE", "FAILED:expired", "success", "SUCCESS "])
def test_an_unverified_certificate_is_refused(gate: GateAtWork, verified: str | None) -> None:
    with pytest.raises(Problem, match="not verified"):
        gate.admit("unix", **named(SUBJECT, verified))
    assert gate.refusals == ["certificate_unverified"]


@pytest.mark.parametrize(
    "subject",
    [
        "CN=shop", SUBJECT + " ", " " + SUBJECT, SUBJECT.lower(), f"{SUBJECT},CN=x",
        "CN=*,O=Bank AG,C=DE", f"{SUBJECT}, {SUBJECT}", "C=DE,O=Bank AG,CN=shop",
    ],
)  # fmt: skip
def test_only_the_exact_subject_is_known(gate: GateAtWork, subject: str) -> None:
    with pytest.raises(Problem) as found:
        gate.admit("unix", **named(subject))
    assert found.value.status == 401
    assert gate.refusals == ["certificate_unknown"]


@pytest.mark.parametrize("subject", ["CN=\u212a", "CN=a\nb", "x" * 513, "\x00"])
def test_what_cannot_be_a_subject_is_refused(gate: GateAtWork, subject: str) -> None:
    with pytest.raises(Problem, match="not verified"):
        gate.admit("unix", **named(subject))


def test_without_a_certificate_a_proxys_client_needs_another(
    gate: GateAtWork, tmp_path: Path
) -> None:
    key = make_key(tmp_path, "bank")
    gate.opened.tick()
    for headers in ({}, {"x_client_certificate_verified": "NONE"}, named("", "NONE")):
        with pytest.raises(Problem, match="send Authorization"):
            gate.admit("unix", **headers)
        caller = gate.admit("unix", authorization=f"Bearer {key}", **headers)
        assert (caller.client, caller.how) == ("bank", "key")
    # A credential in Authorization decides; a wrong one is not forgiven for the certificate.
    assert gate.admit("unix", authorization=f"Bearer {key}", **named(SUBJECT)).client == "bank"
    with pytest.raises(Problem):
        gate.admit("unix", authorization="Bearer x", **named(SUBJECT))


def test_a_disabled_clients_certificate_is_refused(gate: GateAtWork, tmp_path: Path) -> None:
    gate.admit("unix", **named(SUBJECT))
    clients_in(tmp_path).disable("shop")
    gate.opened.tick()
    with pytest.raises(Problem, match="disabled"):
        gate.admit("unix", **named(SUBJECT))


def test_a_network_of_proxies_may_name_subjects(tmp_path: Path) -> None:
    made = settings(tmp_path, certificate_peers=["10.1.0.0/16", "2001:db8::/64"])
    gate = GateAtWork(made, (ListenAddress("10.1.0.1", certificates_required=True),))
    with gate.opened:
        for peer in ("10.1.255.255", "2001:db8::5", "::ffff:10.1.0.9"):
            assert gate.admit(peer, **named(SUBJECT)) == CALLER
        for peer in ("10.2.0.0", "2001:db9::5", "::ffff:10.2.0.9", "unix", "10.1.0.9.evil"):
            with pytest.raises(Problem, match="may not name"):
                gate.admit(peer, **named(SUBJECT))


def test_the_headers_have_the_names_of_the_settings(tmp_path: Path) -> None:
    made = settings(tmp_path, certificate_header="x-dn", certificate_verified_header="x-ok")
    gate = GateAtWork(made)
    with gate.opened:
        assert gate.admit("unix", x_dn=SUBJECT, x_ok="SUCCESS") == CALLER
        with pytest.raises(Problem, match="may not name"):
            gate.admit("10.0.0.7", x_dn=SUBJECT)
        with pytest.raises(Problem, match="send Authorization"):
            gate.admit("unix", **named(SUBJECT))


def pem(subject: x509.Name) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def grpc(gate: GateAtWork, *metadata: tuple[str, str | bytes], **auth: list[bytes]) -> Caller:
    return gate.gate.admit_grpc(metadata, auth, "ipv4:10.0.0.7:50312")


def test_grpc_takes_the_subject_of_its_own_connection(gate: GateAtWork) -> None:
    certificate = pem(x509.Name.from_rfc4514_string(SUBJECT))
    assert grpc(gate, x509_pem_cert=[certificate]) == CALLER
    other = pem(x509.Name.from_rfc4514_string("CN=shop"))
    for chain in ([other], [b"x"], [b""], [certificate, certificate], [b"x" * 70_000]):
        with pytest.raises(Problem, match="not known"):
            grpc(gate, x509_pem_cert=chain)
    bare: list[dict[str, list[bytes]]] = [
        {}, {"x509_pem_cert": []}, {"x509_common_name": [b"shop"]},
    ]  # fmt: skip
    for auth in bare:
        with pytest.raises(Problem, match="send Authorization"):
            grpc(gate, **auth)


@pytest.mark.parametrize(
    ("attributes", "subject"),
    [
        (((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Bank, AG"),
          (NameOID.ORGANIZATIONAL_UNIT_NAME, "a+b")), r"OU=a\+b,O=Bank\, AG,C=DE"),
        (((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_IDENTIFIER, "PSDDE-BAFIN-1"),
          (NameOID.SERIAL_NUMBER, "7"), (NameOID.COMMON_NAME, "x")),
         "CN=x,serialNumber=7,organizationIdentifier=PSDDE-BAFIN-1,C=DE"),
        (((NameOID.DOMAIN_COMPONENT, "example"), (NameOID.COMMON_NAME, "shop"),
          (NameOID.EMAIL_ADDRESS, "a@b.c")), "emailAddress=a@b.c,CN=shop,DC=example"),
    ],
)  # fmt: skip
def test_grpc_and_nginx_write_a_subject_alike(
    attributes: tuple[tuple[x509.ObjectIdentifier, str], ...], subject: str
) -> None:
    # The expected texts are those of `openssl x509 -subject -nameopt RFC2253`.
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    assert subject_of_connection({"x509_pem_cert": [pem(name)]}) == subject


def test_grpc_takes_a_key_from_its_metadata(gate: GateAtWork, tmp_path: Path) -> None:
    key = make_key(tmp_path, "bank")
    gate.opened.tick()
    given = ("authorization", f"Bearer {key}")
    assert grpc(gate, ("user-agent", "grpc"), given).client == "bank"
    for twice in ((given, given), (given, ("authorization", "Bearer x"))):
        with pytest.raises(Problem, match="one credential"):
            grpc(gate, *twice)
    with pytest.raises(Problem, match="one credential"):
        grpc(gate, ("authorization", f"Bearer {key}".encode()))


def test_a_subject_in_grpcs_metadata_is_always_a_forgery(gate: GateAtWork, tmp_path: Path) -> None:
    for peer in ("unix:/run/nginx.sock", "ipv4:10.0.0.7:5", "ipv6:%5B::1%5D:5"):
        for name in ("x-client-certificate-subject", "x-client-certificate-verified"):
            with pytest.raises(Problem, match="may not name"):
                gate.gate.admit_grpc(((name, SUBJECT),), {}, peer)
    assert set(gate.refusals) == {"certificate_forged"}
    gate.opened.tick()
    assert {line["subject"] for line in audit_lines(tmp_path)} == {"unix", "10.0.0.7", "::/64"}
