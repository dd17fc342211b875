"""The cluster, its topics and the schema registry."""

import socket
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from stream_scorer.setting_files import SCHEMAS_DIRECTORY, has_password, is_secret_option
from stream_scorer.setting_types import DAY_MS, SettingsGroup

_HOSTNAME = "@hostname"
_SOCKET_SLACK_MS = 100
"""How much longer than a transaction a request may take: librdkafka's own limit."""
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
ClientOption = str | int | float | bool | SecretStr
# `kafka.client` cannot set what the loop's guarantees and the other settings depend on.
_OWN_OPTIONS = {
    "bootstrap.servers": "set kafka.bootstrap",
    "metadata.broker.list": "set kafka.bootstrap",
    "group.id": "set kafka.group",
    "group.instance.id": "set kafka.static_membership",
    "group.protocol": "set kafka.group_protocol",
    "max.poll.interval.ms": "set kafka.max_poll_interval_ms",
    "message.max.bytes": "the program fits it to the dead letters",
    "sasl.password": "set kafka.password, best as a secret file",
    "session.timeout.ms": "set kafka.session_timeout_ms",
    "socket.timeout.ms": "set kafka.socket_timeout_ms",
    "statistics.interval.ms": "set kafka.statistics_seconds",
    "transaction.timeout.ms": "set kafka.transaction_timeout_ms",
    "transactional.id": "set kafka.group and kafka.instance",
} | dict.fromkeys(
    (
        "acks", "auto.offset.reset", "batch.num.messages", "client.id", "compression.codec",
        "compression.type",
        "enable.auto.commit", "enable.auto.offset.store", "enable.idempotence",
        "enable.partition.eof", "fetch.error.backoff.ms", "fetch.min.bytes",
        "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.remote.assignor",
        "heartbeat.interval.ms",
        "isolation.level", "linger.ms", "partition.assignment.strategy", "partitioner",
        "queue.buffering.max.kbytes", "queue.buffering.max.messages", "queue.buffering.max.ms",
        "queued.max.messages.kbytes", "queued.min.messages", "request.required.acks",
        "topic.metadata.propagation.max.ms",
    ),
    "the program sets it itself",
)  # fmt: skip


class Topics(SettingsGroup):
    """Topic names."""

    transactions: TopicName = Field("transactions", description="input", examples=["transactions"])
    decisions: TopicName = Field("decisions", description="one decision per accepted transaction")
    dead_letters: TopicName = Field(
        "transactions.dlq", description="rejected records with their original bytes"
    )
    summaries: TopicName = Field(
        "summaries", description="counts of each Kafka transaction of a scorer"
    )
    drift_events: TopicName = Field("drift-events", description="reports of the drift detectors")
    labels: TopicName = Field("labels", description="fraud labels, which arrive days later")
    terminal_profiles: TopicName = Field(
        "terminal-profiles", description="one row per transaction, with its final fraud label"
    )
    state: TopicName = Field(
        "scorer-state",
        description="rejections, and checkpoints unless `state.url` is set; compacted",
    )
    rollout: TopicName = Field(
        "rollout", description="control log: rollout plans and commands, which can be signed"
    )
    activations: TopicName = Field(
        "activations", description="from which offset of a partition a revision decides"
    )
    shadow_scores: TopicName = Field("shadow-scores", description="scores and outcomes of shadows")
    drift_commands: TopicName = Field(
        "drift-commands", description="operators' commands about alarms, which can be signed"
    )
    drift_state: TopicName = Field("drift-state", description="snapshots of the monitor; compacted")
    performance: TopicName = Field(
        "performance", description="how well each model version decided, as fraud labels mature"
    )
    edge_progress: TopicName = Field(
        "edge-progress",
        description="up to which row each device's decisions are published; compacted",
    )
    edge_registry: TopicName = Field(
        "edge-registry",
        description="devices and releases that operators allow, signed; kept for ever",
    )


class Kafka(SettingsGroup):
    """The cluster and this process's identity in it."""

    bootstrap: str = Field(
        "",
        description="`host:port` list; empty: the Kafka that `stream-scorer kafka start` runs in "
        "this folder",
        examples=["b:9092"],
    )
    group: str = Field("stream-scorer", min_length=1, description="consumer group of the scorers")
    instance: str = Field(
        "0",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="stable name of this instance, part of its transactional id; `@hostname` "
        "is replaced by the host's name, which is stable in a StatefulSet but new in each new "
        "container",
    )
    topics: Topics = Topics()
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic",
        description="`classic`, or `consumer` for KIP-848, in which the brokers assign partitions "
        "(Kafka 4)",
    )
    static_membership: bool = Field(
        default=False,
        description="a process that restarts within the session timeout keeps its partitions "
        "(KIP-345)",
    )
    fenced_file: Path | None = Field(
        None,
        description="file in which a fenced process notes that a newer process has its name; the "
        "fenced one then stays outside the group while the newer one runs; empty: a fenced process "
        "exits with code 6",
        examples=["/var/run/stream-scorer/fenced"],
    )
    session_timeout_ms: int = Field(
        10_000, ge=1_000, le=3_600_000, description="session timeout of the group; `classic` only"
    )
    max_poll_interval_ms: int = Field(
        300_000,
        ge=1_000,
        le=DAY_MS,
        description="maximum time between two polls; at least `session_timeout_ms` under `classic`",
    )
    transaction_timeout_ms: int = Field(
        15_000,
        ge=1_000,
        le=900_000,
        description="age at which the broker aborts an open transaction",
    )
    socket_timeout_ms: int = Field(
        10_000,
        ge=1_000,
        le=300_000,
        description="time limit of a request; at most `transaction_timeout_ms` + 100",
    )
    statistics_seconds: float = Field(
        10.0,
        ge=0.0,
        le=3_600.0,
        description="time between two reports of a client on its brokers and queues; 0: none",
    )
    client: dict[str, ClientOption] = Field(
        default_factory=dict,
        description="further librdkafka options for every client, such as `security.protocol`",
        examples=[{"security.protocol": "SSL"}],
    )
    password: SecretStr | None = Field(
        None, description="`sasl.password`; belongs in a secret file or a variable"
    )

    @field_validator("instance", mode="before")
    @classmethod
    def _take_the_hosts_name(cls, instance: Any) -> Any:
        """Replace ``@hostname``; a host's name has dots and hyphens, as an instance's may."""
        return socket.gethostname() if instance == _HOSTNAME else instance

    @field_validator("client")
    @classmethod
    def _leave_ours_alone(cls, client: dict[str, ClientOption]) -> dict[str, ClientOption]:
        for name in client:
            if name in _OWN_OPTIONS:
                raise ValueError(f"{name} cannot stand here: {_OWN_OPTIONS[name]}")
        return {
            name: SecretStr(value) if isinstance(value, str) and is_secret_option(name) else value
            for name, value in client.items()
        }

    @model_validator(mode="after")
    def _leave_sessions_to_the_broker(self) -> Self:
        if self.group_protocol == "consumer" and "session_timeout_ms" in self.model_fields_set:
            raise ValueError(
                "session_timeout_ms is the broker's to say under group_protocol consumer: "
                "group.consumer.session.timeout.ms"
            )
        return self

    @model_validator(mode="after")
    def _keep_to_what_librdkafka_takes(self) -> Self:
        """Refuse early, by the settings' names, what librdkafka refuses when a client is made."""
        if self.socket_timeout_ms > self.transaction_timeout_ms + _SOCKET_SLACK_MS:
            raise ValueError(
                f"socket_timeout_ms ({self.socket_timeout_ms}) must be at most "
                f"transaction_timeout_ms ({self.transaction_timeout_ms}) + {_SOCKET_SLACK_MS}"
            )
        classic = self.group_protocol == "classic"
        if classic and self.max_poll_interval_ms < self.session_timeout_ms:
            raise ValueError(
                f"max_poll_interval_ms ({self.max_poll_interval_ms}) must be at least "
                f"session_timeout_ms ({self.session_timeout_ms})"
            )
        return self

    def unverified(self) -> list[str]:
        """Return the options of `client` that switch the verification of brokers off."""
        off = {
            "enable.ssl.certificate.verification": {"false", "0", "f"},
            "ssl.endpoint.identification.algorithm": {"none"},
        }
        return [
            name
            for name, values in off.items()
            if name in self.client and str(self.client[name]).lower() in values
        ]

    def worker(self, number: int) -> "Kafka":
        """Return these settings for one worker of this instance."""
        # No instance can have such a name: `a.0` would be worker 0 of `a`, or an instance itself.
        own: dict[str, Any] = {"instance": f"{self.instance}/{number}"}
        if self.fenced_file is not None:
            own["fenced_file"] = self.fenced_file.with_name(f"{self.fenced_file.name}.{number}")
        return self.model_copy(update=own)


class Registry(SettingsGroup):
    """Where writer schemas come from."""

    url: str = Field(
        "", description="Confluent-compatible registry; empty: the files in `registry.directory`"
    )
    directory: Path = Field(SCHEMAS_DIRECTORY, description="directory of a file registry")
    user: str = Field("", description="user for basic authentication")
    password: SecretStr | None = Field(None, description="password for basic authentication")
    ca_file: Path | None = Field(None, description="CA that signed the registry's certificate")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="time limit of a request")
    negative_cache_seconds: float = Field(
        30.0, ge=0, le=86_400, description="time for which an unknown id is not looked up again"
    )
    lookups_per_second: float = Field(
        2.0,
        ge=0.01,
        le=1_000,
        description="maximum average rate of look-ups that find no schema; beyond it, a record of "
        "an unknown id becomes a dead letter without a look-up",
    )
    lookups_burst: int = Field(
        32, ge=2, le=10_000, description="maximum number of such look-ups in a burst"
    )

    @field_validator("url")
    @classmethod
    def _keep_credentials_out(cls, url: str) -> str:
        # The address appears in logs, health and dead letters.
        if has_password(url):
            raise ValueError("credentials belong in registry.user and registry.password")
        return url
