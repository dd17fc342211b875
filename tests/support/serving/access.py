"""An issuer of tokens, clocks that a test sets, and gates of settings."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.security.client_changes import ClientChanges
from stream_scorer.serving.access.gate import Clocks
from stream_scorer.serving.access.opening import ListenAddress, OpenedGate
from stream_scorer.serving.web.gate import RequestHead
from stream_scorer.settings import Settings, load_settings
from stream_scorer.telemetry.access import CallerRefused

if TYPE_CHECKING:
    from stream_scorer.telemetry.event import Event

ISSUER = "https://login.example/"
AUDIENCE = "stream-scorer"
NOW = 1_800_000_000.0
LOOPBACK = (ListenAddress("127.0.0.1"), ListenAddress("unix"))


class Time:
    """Clocks that a test sets."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def clocks(self) -> Clocks:
        return Clocks(running=self, wall=self)


class Issuer:
    """Signs tokens with keys of its own."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {
            "rsa": ("RS256", rsa.generate_private_key(65_537, 2_048)),
            "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed": ("EdDSA", Ed25519PrivateKey.generate()),
        }

    def jwk(self, name: str) -> dict[str, Any]:
        """Return the public key of a name."""
        algorithm, key = self.keys[name]
        public = key.public_key()
        if algorithm.startswith("RS"):
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        elif algorithm.startswith("ES"):
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            made = OKPAlgorithm.to_jwk(public, as_dict=True)
        made.pop("key_ops", None)
        return made | {"kid": name, "use": "sig"}

    def document(self, *names: str) -> bytes:
        """Return the document of keys."""
        return json.dumps({"keys": [self.jwk(name) for name in names or self.keys]}).encode()

    def public_pem(self, name: str) -> bytes:
        public = self.keys[name][1].public_key()
        return bytes(
            public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def token(
        self, name: str = "ec", header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token; a claim of None is left out."""
        algorithm, key = self.keys[name]
        return jwt.encode(
            claims_with(**claims), key, algorithm, headers={"kid": name, **(header or {})}
        )


def claims_with(**changed: Any) -> dict[str, Any]:
    """Return valid claims with some changed; None leaves one out."""
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "shop-7", "scope": "openid scorer.decide",
        "iat": int(NOW), "exp": int(NOW) + 600, **changed,
    }  # fmt: skip
    return {name: value for name, value in claims.items() if value is not None}


def segment(value: Any) -> str:
    """Return a part of a token: the base64url of JSON, or of bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def access_settings(tmp_path: Path, table: dict[str, Any] | None = None) -> Settings:
    """Return settings with an audit log and a group of access."""
    return load_settings(
        {"serving": {"access": table or {}}, "audit": {"path": str(tmp_path / "audit.log")}}
    )


def clients_in(tmp_path: Path) -> ClientChanges:
    """Return the clients file of a folder, for changes."""
    return ClientChanges(tmp_path / "clients.json", AuditTrail())


def make_key(tmp_path: Path, name: str = "shop", **fields: Any) -> str:
    """Add a client to the clients file of a folder; return its key."""
    made = clients_in(tmp_path).add(name, **({"scopes": ["score"]} | fields))
    assert made is not None
    return made.text


class GateAtWork:
    """A gate of settings whose clock a test sets, with the events that it reported."""

    def __init__(
        self,
        settings: Settings,
        listeners: tuple[ListenAddress, ...] = LOOPBACK,
        now: float = NOW,
    ) -> None:
        self.time = Time(now)
        self.events: list[Event] = []
        self.opened = OpenedGate(settings, listeners, self.events.append, self.time.clocks())
        self.gate = self.opened.gate

    def admit(self, peer: str = "10.0.0.7", **headers: str) -> Any:
        """Admit a request with headers; an underscore in a name is a hyphen."""
        return self.gate.admit(head(peer, **headers))

    @property
    def refusals(self) -> list[str]:
        """The reasons of refusals, oldest first."""
        return [each.reason for each in self.events if isinstance(each, CallerRefused)]


def head(peer: str = "10.0.0.7", **headers: str) -> RequestHead:
    """Return the head of a request; an underscore in a header's name is a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("POST", "/v1/decisions", {"host": "api.example"} | named, peer)
