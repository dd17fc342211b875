"""The settings of who may ask, and how often."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stream_scorer.setting_types import SettingsGroup

HeaderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
ScopeName = Literal["score", "read", "operate", "edge", "admin"]
UNIX_PEER = "unix"
"""The peer of a Unix socket, which has no address."""


class Access(SettingsGroup):
    """Who may ask, and how often."""

    clients_file: Path | None = Field(
        None,
        description="clients with API keys or certificates: a private file that `stream-scorer "
        "clients` writes; read again when it changes",
        examples=["/etc/stream-scorer/clients.json"],
    )
    open_on_loopback: bool = Field(
        default=False,
        description="accept every program of this machine, without a credential; for development, "
        "on loopback only",
    )
    certificate_peers: tuple[str, ...] = Field(
        (),
        max_length=16,
        description="proxies whose header names the subject of a client's certificate: `unix` for "
        "a Unix socket, or networks, which must connect with a certificate, too; the header from "
        "another peer is refused",
        examples=[["unix"]],
    )
    certificate_header: HeaderName = Field(
        "x-client-certificate-subject",
        description="header with the subject, as RFC 4514 writes it (nginx: `$ssl_client_s_dn`)",
    )
    certificate_verified_header: HeaderName = Field(
        "x-client-certificate-verified",
        description="header that must be `SUCCESS` (nginx: `$ssl_client_verify`)",
    )
    token_issuer: str = Field(
        "",
        max_length=512,
        description="issuer of bearer tokens (JWT), compared exactly; empty: no tokens are "
        "accepted",
        examples=["https://login.example/"],
    )
    token_audience: str = Field(
        "", max_length=512, description="audience that a token must have: the name of this API"
    )
    token_algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"],
        ...,
    ] = Field(
        ("RS256", "ES256", "EdDSA"),
        min_length=1,
        description="signature algorithms that are accepted; all of them use public keys",
    )
    token_keys: str = Field(
        "",
        max_length=2_048,
        description="the issuer's public keys (JWKS): a file, or an https URL",
        examples=["https://login.example/jwks.json"],
    )
    token_keys_ca: Path | None = Field(
        None,
        description="CA certificates (PEM) for the URL of `token_keys`; empty: the system's",
    )
    token_keys_seconds: float = Field(
        600.0, ge=10, le=86_400, description="age at which the issuer's keys are read again"
    )
    token_keys_refetch_seconds: float = Field(
        30.0,
        ge=1,
        le=3_600,
        description="minimum time between two readings because of an unknown key id, or after a "
        "failed one",
    )
    token_keys_stale_seconds: float = Field(
        86_400.0,
        ge=60,
        le=30 * 86_400,
        description="age at which the issuer's keys are no longer used if reading them again fails",
    )
    token_leeway_seconds: float = Field(
        30.0, ge=0, le=300, description="difference between the issuer's clock and ours"
    )
    token_lifetime_seconds: float = Field(
        86_400.0,
        ge=60,
        le=30 * 86_400,
        description="longest time from `iat` to `exp` of a token",
    )
    token_scopes_claim: str = Field(
        "scope",
        min_length=1,
        max_length=256,
        description="claim with the caller's rights: words in one text, or a list of texts",
    )
    token_scopes: dict[str, tuple[ScopeName, ...]] = Field(
        default_factory=dict,
        max_length=64,
        description="scopes that a value of that claim gives; other values give none",
        examples=[{"scorer.decide": ["score"]}],
    )
    token_rate_per_second: float = Field(
        100.0, gt=0, le=1_000_000, description="requests per second of each token's subject"
    )
    token_burst: int = Field(
        200, ge=1, le=1_000_000, description="requests of a subject that may come together"
    )
    token_quota_per_day: int | None = Field(
        None, ge=1, le=10**12, description="requests of a subject per day (UTC); empty: no quota"
    )
    failures_per_minute: int = Field(
        60,
        ge=1,
        le=100_000,
        description="failed authentications of an address per minute, past which they are answered "
        "with 429",
    )

    @property
    def configured(self) -> bool:
        """Whether any client can authenticate."""
        return self.clients_file is not None or bool(self.token_issuer)

    @field_validator("certificate_peers")
    @classmethod
    def _name_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for peer in value:
            if peer != UNIX_PEER and ipaddress.ip_network(peer).prefixlen == 0:
                raise ValueError(f"{peer} would accept the header from everyone")
        return value

    @field_validator("token_keys")
    @classmethod
    def _take_only_https(cls, value: str) -> str:
        parts = urlsplit(value)
        if "://" in value and (parts.scheme != "https" or not parts.hostname or "@" in value):
            raise ValueError("name a file, or an https URL without user and password")
        return value

    @model_validator(mode="after")
    def _leave_nothing_idle_in_access(self) -> Self:
        if self.open_on_loopback and self.configured:
            raise ValueError("open_on_loopback would accept callers without a credential")
        if self.certificate_peers and self.clients_file is None:
            raise ValueError("certificate_peers without clients_file would know no subject")
        if self.certificate_header == self.certificate_verified_header:
            raise ValueError("certificate_header and certificate_verified_header are the same")
        given = (self.token_audience, self.token_keys, self.token_scopes)
        if self.token_issuer and not all(given):
            raise ValueError("token_issuer needs token_audience, token_keys and token_scopes")
        if any(given) and not self.token_issuer:
            raise ValueError("token_audience, token_keys and token_scopes need token_issuer")
        return self
