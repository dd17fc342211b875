"""The settings of ``/v1/decisions``."""

from typing import Self

from pydantic import Field, model_validator

from stream_scorer.setting_types import SettingsGroup


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
        "gets it again; also how long a transaction is pending at most",
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
