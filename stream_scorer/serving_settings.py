"""The settings of ``stream-scorer serve``."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stream_scorer.setting_types import Port, SettingsGroup

HeaderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
ScopeName = Literal["score", "read", "operate", "admin"]
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


class DecisionsApi(SettingsGroup):
    """``/v1/decisions``: decisions in the call."""

    subject: str = Field(
        "",
        max_length=255,
        description="subject of the Avro schema that encodes a request's record, if `events.toml` "
        "maps Avro records; empty: the schema of our transactions",
        examples=["payments-value"],
    )
    version: int = Field(0, ge=0, description="version of that schema in its subject, from 1")
    key_subject: str = Field(
        "",
        max_length=255,
        description="subject of the Avro schema of keys, if `[key]` of `events.toml` has a path in "
        "an Avro key",
    )
    key_version: int = Field(0, ge=0, description="version of that schema in its subject, from 1")
    timeout_ms: int = Field(
        1_000,
        ge=10,
        le=25_000,
        description="milliseconds after which a request without a decision is answered with 202 "
        "and a provisional outcome",
    )
    window_seconds: int = Field(
        3_600,
        ge=60,
        le=7 * 86_400,
        description="age of a decision, by its Kafka timestamp, up to which a repeated transaction "
        "gets it again",
    )
    window_mb: int = Field(
        512,
        ge=16,
        le=65_536,
        description="maximum megabytes of the decisions in the window; a full window is shorter",
    )
    in_flight_max: int = Field(
        20_000,
        ge=1_000,
        le=1_000_000,
        description="maximum number of transactions that wait for their decision",
    )
    body_bytes_max: int = Field(
        2_097_152, ge=1_024, le=67_108_864, description="maximum bytes of a request's body"
    )

    @model_validator(mode="after")
    def _name_versions(self) -> Self:
        for name in ("", "key_"):
            subject, version = getattr(self, f"{name}subject"), getattr(self, f"{name}version")
            if bool(subject) != bool(version):
                raise ValueError(f"{name}subject and {name}version belong together: give both")
        return self


class Inference(SettingsGroup):
    """``/v2``: scores of feature vectors, by the Open Inference Protocol."""

    models: tuple[str, ...] = Field(
        (),
        description="bundles that answer, as `NAME:VERSION`, or `NAME` for its highest version; "
        "`--model` replaces them; without either, `/v2` is not served",
        examples=[["fraud:1.1.1"]],
    )
    concurrent: int = Field(
        128,
        ge=1,
        le=65_536,
        description="requests at the same time; a further one is refused with 503",
    )
    rows_max: int = Field(
        4096, ge=1, le=65_536, description="rows of a request, and of several that are joined"
    )
    body_bytes_max: int = Field(
        4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="bytes of a request"
    )


class Tracing(SettingsGroup):
    """Spans of requests, by OTLP over HTTP; needs the extra `otel`."""

    endpoint: str = Field(
        "",
        max_length=2_048,
        description="URL to which spans are sent as protobuf; empty: no tracing",
        examples=["http://127.0.0.1:4318/v1/traces"],
    )
    ca: Path | None = Field(
        None, description="CA certificates (PEM) for an https URL; empty: the system's"
    )
    ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the requests that are traced, of those without a `traceparent`; with "
        "one, its flag decides",
    )
    queue_spans: int = Field(
        2_048,
        ge=16,
        le=1_048_576,
        description="spans that wait to be sent; further ones are dropped and counted",
    )
    timeout_seconds: float = Field(
        5.0, gt=0, le=60, description="time for one request to the endpoint"
    )

    @field_validator("endpoint")
    @classmethod
    def _take_only_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in value):
            raise ValueError("name an http or https URL without user and password")
        return value


class Serving(SettingsGroup):
    """The API."""

    host: str = Field("127.0.0.1", description="IP address of the API")
    port: Port = Field(8080, description="port of the API; 0 picks a free one")
    unix_socket: Path | None = Field(
        None,
        description="Unix socket of the API instead of `serving.host` and `serving.port`; only its "
        "user and group can connect",
        examples=["/run/stream-scorer/api.sock"],
    )
    tls_certificate: Path | None = Field(
        None, description="certificate chain for HTTPS (PEM); read at the start"
    )
    tls_key: Path | None = Field(
        None, description="private key of the certificate (PEM, PKCS #8, without a passphrase)"
    )
    tls_minimum: Literal["1.2", "1.3"] = Field("1.2", description="oldest version of TLS")
    client_ca: Path | None = Field(
        None,
        description="CA that signed the certificates of HTTPS clients, such as a proxy (PEM); a "
        "client without one is refused; empty: clients need no certificate",
    )
    http2: bool = Field(
        default=False, description="whether the API takes HTTP/2 in addition to HTTP/1.1"
    )
    connections_max: int = Field(
        1_024, ge=1, le=65_536, description="connections at a time; further ones wait"
    )
    requests_max: int = Field(
        1_024, ge=1, le=65_536, description="requests at a time; further ones are a 503"
    )
    head_bytes_max: int = Field(
        16_384,
        ge=8_192,
        le=1_048_576,
        description="bytes of a request line and its header fields; a longer one is a 431",
    )
    head_seconds: float = Field(
        10.0,
        ge=0.1,
        le=300,
        description="time for which a connection may wait for the end of a head, or idle",
    )
    body_seconds: float = Field(
        10.0,
        ge=0.1,
        le=300,
        description="time within which a body must have arrived; else it is a 408",
    )
    bodies_bytes_max: int = Field(
        67_108_864,
        ge=1_048_576,
        le=2**36,
        description="bytes of all bodies of requests in flight; beyond it, a request is a 503",
    )
    drain_seconds: float = Field(
        10.0,
        gt=0,
        le=3_600,
        description="time after SIGTERM within which requests in flight are finished",
    )
    access_log: bool = Field(default=False, description="whether each request has a log line")
    grpc_port: Port | None = Field(
        None,
        description="port of gRPC, at `serving.host` with the same certificate; 0 picks a free "
        "one; empty: no gRPC",
    )
    grpc_client_ca: Path | None = Field(
        None,
        description="CA that signed the certificates of gRPC's clients (PEM); a client without one "
        "is refused; empty: clients need no certificate",
    )
    grpc_message_bytes_max: int = Field(
        4_194_304, ge=1_024, le=2**30, description="bytes of a gRPC message"
    )
    access: Access = Access()
    decisions: DecisionsApi = DecisionsApi()
    inference: Inference = Inference()
    tracing: Tracing = Tracing()

    @model_validator(mode="after")
    def _take_certificate_and_key_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("set tls_certificate and tls_key together, or neither")
        if self.grpc_port is not None and self.tls_minimum != "1.2":
            raise ValueError("gRPC always takes TLS 1.2: with grpc_port, tls_minimum must be 1.2")
        if self.tls_certificate is None:
            for name in ("client_ca", "grpc_client_ca"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no meaning without tls_certificate")
        return self
