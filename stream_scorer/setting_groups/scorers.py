"""The scorer, its state, its endpoint and its journal."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from stream_scorer.setting_types import DAY_MS, Port, SettingsGroup


class Scorer(SettingsGroup):
    """The transaction loop."""

    maximum_batch: int = Field(
        25_000,
        ge=1,
        le=100_000,
        description="maximum number of input records in a batch, which is one Kafka transaction",
    )
    maximum_linger_ms: float = Field(
        4.0,
        ge=0,
        le=1_000,
        description="shortest time between two batches that are not full",
    )
    model_timeout_ms: int = Field(
        1_000,
        ge=1,
        le=DAY_MS,
        description="time after which a batch is slow: its partitions are paused until it is "
        "computed; less than half of `kafka.max_poll_interval_ms`",
    )
    shutdown_seconds: float = Field(
        10.0,
        gt=0,
        le=3_600,
        description="time after SIGTERM within which a process finishes its batch, commits and "
        "leaves the group",
    )
    stuck_seconds: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="time after which a partition is stuck, if it has lag and its position does "
        "not move",
    )
    hang_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="time after which a batch hangs, and the process is not live; more than "
        "`scorer.model_timeout_ms`",
    )
    explore_key_file: Path | None = Field(
        None,
        description="private file with the secret key, 32 random bytes or more, by which some "
        "would-be BLOCKs are let through; the plan's table `explore` has its digest",
    )
    review_key_file: Path | None = Field(
        None,
        description="likewise of the draw of transactions for review; the plan's table "
        "`review_sample` has its digest",
    )
    edge: Literal["refuse", "accept"] = Field(
        "refuse",
        description="what becomes of a record with a device's decision: `accept` publishes the "
        "decision if a registered device signed it; `refuse` makes every such record a dead letter",
    )


class State(SettingsGroup):
    """The rolling checkpoint of the customers' histories."""

    url: str = Field(
        "",
        description="fsspec URL of a directory for checkpoints; empty: the topic "
        "`kafka.topics.state`",
        examples=["s3://bucket/stream-scorer"],
    )
    bytes_per_event: float = Field(
        20.0,
        ge=0,
        le=10_000,
        description="checkpoint bytes that are written per input record; a larger value makes a "
        "restore shorter",
    )
    buckets_per_second: float = Field(
        16.0,
        ge=0,
        le=1_024,
        description="buckets that a process may write per second even if few records arrive; a "
        "partition has 1,024 buckets",
    )
    write_format: int = Field(
        2,
        ge=1,
        le=2,
        description="format of the buckets that are written; 1 while instances of the previous "
        "version of stream-scorer run in the group, or while you may go back to it",
    )
    mac_key_file: Path | None = Field(
        None,
        description="file with secret keys, one a line, hex or base64 of 32 bytes or more; "
        "checkpoint records get an HMAC-SHA256 by the first key, and records without a valid one "
        "are refused",
        examples=["/run/secrets/state-mac"],
    )
    mac_required: bool = Field(
        default=True,
        description="whether records without a MAC are refused; false while such records still "
        "exist, and only with `state.mac_key_file`; a wrong MAC is always refused",
    )

    @model_validator(mode="after")
    def _leave_no_check_without_keys(self) -> Self:
        if not self.mac_required and self.mac_key_file is None:
            raise ValueError("mac_required has no meaning without mac_key_file")
        return self


class Http(SettingsGroup):
    """The endpoint for Prometheus and probes."""

    host: str = Field("127.0.0.1", description="address of the endpoint")
    port: Port = Field(9464, description="port of the endpoint; 0 picks a free port")
    tls_certificate: Path | None = Field(
        None, description="certificate chain for HTTPS (PEM); read again when the file changes"
    )
    tls_key: Path | None = Field(
        None,
        description="private key of the certificate (PEM, without a passphrase); read again when "
        "the file changes",
    )
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="bearer token for metrics and for the reasons in probes; belongs in a secret "
        "file or a variable; empty: every client that reaches the port can read them",
    )

    @model_validator(mode="after")
    def _take_certificate_and_key_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("set tls_certificate and tls_key together, or neither")
        return self


class Logging(SettingsGroup):
    """What a process writes besides the lines for a person who must act."""

    journal: Path | None = Field(
        None,
        description="file to which a process appends one JSON line for each start, model, "
        "assignment, revision, outage and end; `-` is standard output; empty: none",
        examples=["/var/log/stream-scorer/journal.jsonl"],
    )
