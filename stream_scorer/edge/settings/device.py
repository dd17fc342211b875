"""The settings of ``edge``: a device, its upload and its updates, and whose registrations count."""

import ipaddress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stream_scorer.setting_types import KeyName, SettingsGroup


def _https_only(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme != "https" or not parts.hostname or "@" in parts.netloc):
        raise ValueError("name an https URL without user and password")
    return url


class EdgeUpdates(SettingsGroup):
    """Updates over the air, by TUF; needs the extra `edge`."""

    url: str = Field(
        "",
        max_length=2_048,
        description="https URL of the repository of `edge publish`; empty: no updates",
        examples=["https://updates.example.com/edge"],
    )
    ca: Path | None = Field(
        None, description="CA certificates (PEM) for `edge.update.url`; empty: the system's"
    )
    channel: KeyName = Field("stable", description="channel whose release the device follows")
    check_seconds: float = Field(
        3_600.0, ge=1, le=30 * 86_400, description="time between two looks for an update"
    )
    version_jump_most: int = Field(
        100_000,
        ge=1,
        le=2**31,
        description="most by which the version of metadata may rise between two looks; more is "
        "refused",
    )

    @field_validator("url")
    @classmethod
    def _encrypt(cls, url: str) -> str:
        return _https_only(url)


class Edge(SettingsGroup):
    """A device that decides offline, and the keys by which operators allow devices."""

    directory: Path = Field(Path("edge"), description="private folder of a device's files")
    device: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="name of this device, which is also its client of the API",
        examples=["till-17"],
    )
    signing_key: Path | None = Field(
        None,
        description="private key that signs this device's rows; empty: `signing.key` in "
        "`edge.directory`",
    )
    sealing_key: Path | None = Field(
        None,
        description="private key to which operators seal state for this device; empty: "
        "`sealing.key` in `edge.directory`",
    )
    state_key_file: Path | None = Field(
        None,
        description="file with the key, 32 bytes, that encrypts log and outbox; empty: `state.key` "
        "in `edge.directory`",
    )
    trusted_keys: dict[KeyName, str] = Field(
        default_factory=dict,
        description="public keys of operators whose registrations and exports count, for devices, "
        "scorers and the API: name = PEM file, PEM or base64",
        examples=[{"risk": "/etc/stream-scorer/risk.pub"}],
    )
    listen: str = Field(
        "127.0.0.1:8090",
        description="address of the device's HTTP, on loopback; port 0: a free one",
    )
    unix_socket: Path | None = Field(
        None,
        description="Unix socket of the device's HTTP instead of `edge.listen`",
        examples=["/run/stream-scorer/edge.sock"],
    )
    outbox_rows_most: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="rows that wait for their upload; with more, a transaction is refused",
    )
    outbox_bytes_most: int = Field(
        268_435_456,
        ge=65_536,
        le=2**40,
        description="bytes of these rows; with more, a transaction is refused",
    )
    log_bytes_most: int = Field(
        67_108_864,
        ge=1_048_576,
        le=2**40,
        description="bytes of the log; with more, a transaction is refused",
    )
    upload: Literal["none", "https", "kafka"] = Field(
        "none", description="how rows are uploaded: by `edge.upload_url`, directly to Kafka, or not"
    )
    upload_url: str = Field(
        "",
        max_length=2_048,
        description="https URL of the API",
        examples=["https://scores.example.com"],
    )
    upload_ca: Path | None = Field(
        None, description="CA certificates (PEM) for `edge.upload_url`; empty: the system's"
    )
    api_key_file: Path | None = Field(
        None, description="private file with the device's key of the API"
    )
    upload_rows: int = Field(1_000, ge=1, le=10_000, description="rows of an upload")
    update: EdgeUpdates = EdgeUpdates()

    @field_validator("upload_url")
    @classmethod
    def _encrypt(cls, url: str) -> str:
        return _https_only(url)

    @field_validator("listen")
    @classmethod
    def _stay_on_loopback(cls, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        try:
            local = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
        except ValueError:
            local = False
        if not local or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 the last port
            raise ValueError("name an IP address of loopback and a port, such as 127.0.0.1:8090")
        return listen

    @model_validator(mode="after")
    def _know_where_to(self) -> Self:
        if self.upload == "https" and not (self.upload_url and self.api_key_file):
            raise ValueError("upload = https needs upload_url and api_key_file")
        return self
