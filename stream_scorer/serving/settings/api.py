"""The settings of the API as a whole: addresses, limits, tracing, and the groups of its parts."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stream_scorer.serving.settings.access import Access
from stream_scorer.serving.settings.decisions import DecisionsApi
from stream_scorer.serving.settings.edge import EdgeApi
from stream_scorer.serving.settings.inference import Inference
from stream_scorer.setting_types import Port, SettingsGroup


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
        1_024,
        ge=1,
        le=65_536,
        description="requests at a time; further ones are a 503. As many calls of gRPC, of "
        "which one client has at most half; further ones are `UNAVAILABLE`",
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
        description="time within which a body must have arrived; else it is a 408. Also of a "
        "message of gRPC; else it is `DEADLINE_EXCEEDED`",
    )
    bodies_bytes_max: int = Field(
        67_108_864,
        ge=1_048_576,
        le=2**36,
        description="bytes of all bodies of requests in flight; beyond it, a request is a 503. "
        "Also of the messages of gRPC that are being read; beyond it, a message waits",
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
        4_194_304,
        ge=1_024,
        le=2**30,
        description="bytes of a gRPC message; a request also has `serving.inference."
        "body_bytes_max`",
    )
    access: Access = Access()
    decisions: DecisionsApi = DecisionsApi()
    inference: Inference = Inference()
    edge: EdgeApi = EdgeApi()
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
