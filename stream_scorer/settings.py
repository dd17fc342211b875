"""The settings tree: how and where a process runs.

A decision depends on the input, the model and the plan. Only the settings that name the model, the
plan or the schemas (``models.*``, ``rollout.*``, ``registry.*``) determine which these are.

Sources, later wins: defaults, the TOML file named by ``--config`` or ``STREAM_SCORER_CONFIG``,
environment variables (``STREAM_SCORER_KAFKA__BOOTSTRAP=...``), secret files
(``STREAM_SCORER_SECRETS_DIR``), command-line flags. An unknown key is an error.
"""

import ipaddress
import os
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from stream_scorer.edge.settings.device import Edge
from stream_scorer.errors import SettingsError
from stream_scorer.redaction import remember
from stream_scorer.serving.settings.api import Serving
from stream_scorer.setting_files import (
    config_file,
    has_password,
    is_secret_option,
    secret_files,
)
from stream_scorer.setting_types import KeyName, Port, SettingsGroup

_DATA = Path(__file__).parent / "_data"
_ROOT = _DATA if _DATA.is_dir() else Path(__file__).parent.parent
SCHEMAS_DIRECTORY = _ROOT / "schemas"
MODELS_DIRECTORY = _ROOT / "models"

PRODUCTION = "production"
"""The mode that refuses what is unsafe."""
_PREFIX = "STREAM_SCORER_"
_CONFIG_VARIABLE = "STREAM_SCORER_CONFIG"
_SECRETS_VARIABLE = "STREAM_SCORER_SECRETS_DIR"
PASSPHRASE_VARIABLE = "STREAM_SCORER_KEY_PASSPHRASE"  # noqa: S105 the name of a variable
"""Variable of the passphrase for `models keygen` and `models sign`. It is not a setting, as no
running process needs it.
"""
_VARIABLES = frozenset({_CONFIG_VARIABLE, _SECRETS_VARIABLE, PASSPHRASE_VARIABLE})

# The file of the load under way: pydantic-settings builds its sources from the class alone.
_CONFIG: ContextVar[str | None] = ContextVar("config", default=None)

_DAY_MS = 86_400_000
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
        "edge-registry", description="devices and releases that operators allow, signed; compacted"
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
        le=_DAY_MS,
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
        le=_DAY_MS,
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


class Models(SettingsGroup):
    """Where bundles are and what may be loaded from them."""

    directory: Path = Field(
        MODELS_DIRECTORY,
        description="folder of the model store, with `NAME/VERSION/` for each bundle",
    )
    url: str = Field(
        "",
        description="fsspec URL of the model store, instead of `models.directory`",
        examples=["s3://bucket/models"],
    )
    cache: Path | None = Field(
        None,
        description="private folder for files that came from `models.url`; empty: "
        "`~/.cache/stream-scorer/models`",
    )
    trusted_keys: dict[KeyName, str] = Field(
        default_factory=dict,
        description="public keys whose signatures on bundles and plan files count: name = PEM "
        "file, PEM or base64",
        examples=[{"release": "/etc/stream-scorer/release.pub"}],
    )
    require_signature: bool = Field(
        default=False,
        description="refuse bundles that no key of `models.trusted_keys` has signed; for "
        "production",
    )
    trusted_types: tuple[str, ...] = Field(
        (), description="type names that a skops file may contain in addition to the built-in list"
    )
    verify_seconds: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="interval at which the files of the deployed bundle are verified again, in "
        "addition to SIGHUP; 0: only by SIGHUP",
    )

    @model_validator(mode="after")
    def _leave_a_way(self) -> Self:
        if self.require_signature and not self.trusted_keys:
            raise ValueError("require_signature without trusted_keys would refuse every bundle")
        return self


class Rollout(SettingsGroup):
    """The keys whose commands in the control log are accepted."""

    operator_keys: dict[KeyName, str] = Field(
        default_factory=dict,
        description="public keys of operators: name = PEM file, PEM or base64; must be the same "
        "for every process; do not remove a key while the control log exists",
        examples=[{"risk": "/etc/stream-scorer/risk.pub"}],
    )
    retired_keys: dict[KeyName, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="operators whose key no longer counts: name = number of the last command in "
        "the control log for which the key still counts",
        examples=[{"risk": 41}],
    )
    require_signature: bool = Field(
        default=False, description="refuse unsigned commands; for production"
    )

    @model_validator(mode="after")
    def _leave_a_way(self) -> Self:
        for name in self.retired_keys:
            if name not in self.operator_keys:
                raise ValueError(f"retired_keys: {name} is not among operator_keys, and must stay")
        if self.require_signature and not self.operator_keys:
            raise ValueError("require_signature without operator_keys would refuse every command")
        return self


class Monitor(SettingsGroup):
    """Online drift detection."""

    group: str = Field(
        "stream-scorer-monitor", min_length=1, description="consumer group of the monitor"
    )
    false_alarm_days: float = Field(
        30.0,
        ge=1,
        le=3_650,
        description="budget: average days between two false alarms over all streams of one model "
        "version; faults of the data are not in it",
    )
    tolerance: float = Field(
        0.5,
        gt=0,
        le=10,
        description="change of a feature that does not matter, in standard deviations of a "
        "window's value",
    )
    history_from: str = Field(
        "",
        description="time from which the histories of customers and terminals are complete, with "
        "its offset from UTC; empty: unknown, and the monitor learns until its own windows cover "
        "them",
        examples=["2026-01-31T00:00:00Z"],
    )
    streams_most: int = Field(
        2_048,
        ge=1,
        le=4_096,
        description="maximum number of streams of a model version; a version with more is not "
        "watched",
    )
    sink_group: str = Field(
        "stream-scorer-drift-sink",
        min_length=1,
        description="beginning of the name of a sink's consumer group, whose offsets record which "
        "drift events it has sent; `-webhook` or `-log` follows",
    )
    webhook_url: str = Field(
        "",
        description="URL to which the webhook sink sends drift events: https, or http on loopback",
        examples=["https://alarms.example.com/drift"],
    )
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="key that signs what the webhook sink sends; belongs in a secret file or a "
        "variable",
    )
    webhook_timeout_seconds: float = Field(
        10.0, gt=0, le=60, description="time limit of a request of the webhook sink"
    )

    @field_validator("history_from")
    @classmethod
    def _require_an_offset(cls, text: str) -> str:
        if text and datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("needs an offset from UTC, such as 2026-01-31T00:00:00Z")
        return text

    @field_validator("webhook_url")
    @classmethod
    def _encrypt_beyond_loopback(cls, url: str) -> str:
        if has_password(url):
            raise ValueError("credentials do not belong in the URL: set monitor.webhook_secret")
        parts = urlsplit(url)
        local = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        if url and not (parts.hostname and (parts.scheme == "https" or local)):
            raise ValueError("needs https, or http on a loopback address")
        if not (url.isascii() and url.isprintable() and " " not in url):
            raise ValueError("needs ASCII without spaces: write other characters as %20, %C3%A9")
        if parts.port == 0:  # A port that is no number, or above 65535, is an error of its own.
            raise ValueError("needs a port from 1 to 65535")
        return url


def _is_loopback(host: str) -> bool:
    """Whether a host's name or address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Controller(SettingsGroup):
    """The process that judges a rollout, and moves it as its plan allows."""

    group: str = Field(
        "stream-scorer-controller", min_length=1, description="consumer group of the controller"
    )
    state: Path = Field(
        Path("controller.sqlite"),
        description="file with the controller's evidence, and with decisions that wait for fraud "
        "labels; one file for each instance",
    )
    key: Path | None = Field(
        None,
        description="private key that signs the controller's commands; its public key is in the "
        "rollout plan",
    )
    passphrase: SecretStr | None = Field(
        None, description="passphrase of `controller.key`; belongs in a secret file or a variable"
    )
    label_slack_seconds: int = Field(
        86_400,
        ge=0,
        le=400 * 86_400,
        description="seconds of event time that are added to the rollout plan's "
        "`maturity_seconds`, because a fraud label that was known in time may arrive late",
    )
    most_rows: int = Field(
        20_000_000,
        ge=1_000,
        le=2_000_000_000,
        description="maximum number of decisions that wait for fraud labels, and of fraud labels "
        "that are kept; further ones are not used as evidence",
    )


class Profiler(SettingsGroup):
    """The process that computes terminal profile rows from transactions and labels."""

    group: str = Field(
        "stream-scorer-profiler", min_length=1, description="consumer group of the profiler"
    )
    decisions: Literal["follow", "ignore"] = Field(
        "follow",
        description="`follow`: once a plan has a `label_policy`, the profiler reads the decisions, "
        "so that a blocked transaction without a label does not count as genuine; `ignore`: it "
        "never reads them",
    )


class Performance(SettingsGroup):
    """The process that measures how well each model version decided, as fraud labels mature."""

    group: str = Field(
        "stream-scorer-performance",
        min_length=1,
        description="consumer group of the performance process",
    )
    state: Path = Field(
        Path("performance.sqlite"),
        description="file with decisions that wait for fraud labels, and with matured ones; one "
        "file for each instance",
    )
    label_slack_seconds: int = Field(
        86_400,
        ge=0,
        le=400 * 86_400,
        description="seconds of event time that are added to the maturity, because a fraud label "
        "that was known in time may arrive late",
    )
    most_rows: int = Field(
        20_000_000,
        ge=1_000,
        le=2_000_000_000,
        description="maximum number of decisions that wait for fraud labels, and of matured ones "
        "that are kept; with more, a sample of the customers is measured",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="budget: maximum probability of a false early warning within "
        "`performance.horizon_days`",
    )
    horizon_days: int = Field(
        100, ge=1, le=3_650, description="days for which `performance.alpha` is the budget"
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        le=1e100,
        description="rise of the mean cost per decision, in units of the currency, that does not "
        "matter; 0: 5 % of the usual cost",
    )
    maturity_days: float = Field(
        7.0,
        ge=0,
        le=400,
        description="age of a decision, in days of event time, up to which its fraud label must be "
        "known",
    )
    review_days: float = Field(
        1.0,
        ge=0,
        le=400,
        description="age, in days of event time, at which a decision that was drawn at random for "
        "review counts for the early warning",
    )
    trust_declared_draws: bool = Field(
        default=False,
        description="whether a random draw that only a label declares counts for the early warning",
    )
    cards_per_day: int = Field(
        100, ge=1, le=1_000_000, description="customers that can be looked at in a day"
    )
    most_cost: float = Field(
        200.0,
        gt=0,
        le=1e100,
        description="upper bound of the cost of a decision, in units of the currency",
    )
    missed_share: float = Field(
        1.0, ge=0, le=1e100, description="share of an approved fraud's amount that is lost"
    )
    missed_fixed: float = Field(
        0.0, ge=0, le=1e100, description="fixed cost of an approved fraud, in addition"
    )
    review_cost: float = Field(5.0, ge=0, le=1e100, description="cost of a review")
    false_block_cost: float = Field(
        25.0, ge=0, le=1e100, description="cost of blocking a genuine transaction"
    )


class Retrain(SettingsGroup):
    """The process that trains and proposes a new version."""

    group: str = Field(
        "stream-scorer-retrain",
        min_length=1,
        description="consumer group of `retrain run`; its leader trains, the others stand by",
    )
    directory: Path = Field(
        Path("retrain"), description="folder with the state and the history of retraining"
    )
    key: Path | None = Field(
        None,
        description="private key that signs bundles and plans of retraining; an operator's grant "
        "names its public key",
    )
    passphrase: SecretStr | None = Field(
        None, description="passphrase of `retrain.key`; belongs in a secret file or a variable"
    )


class Rekey(SettingsGroup):
    """A topic copied to one that is keyed by the customer."""

    group: str = Field(
        "stream-scorer-rekey",
        min_length=1,
        description="consumer group whose offsets record what `rekey` has copied; one group for "
        "each source and target",
    )


class Replay(SettingsGroup):
    """Dead letters copied back to the input."""

    group: str = Field(
        "stream-scorer-replay",
        min_length=1,
        description="consumer group whose offsets record which dead letters were copied; one "
        "group for each input",
    )


class Logging(SettingsGroup):
    """What a process writes besides the lines for a person who must act."""

    journal: Path | None = Field(
        None,
        description="file to which a process appends one JSON line for each start, model, "
        "assignment, revision, outage and end; `-` is standard output; empty: none",
        examples=["/var/log/stream-scorer/journal.jsonl"],
    )


class Lag(SettingsGroup):
    """What `stream-scorer lag --serve` and `--watch` observe."""

    groups: list[str] = Field(
        default_factory=list,
        description="consumer groups, with `*` and `?`; empty: `kafka.group`",
        examples=[["fraud-*", "billing"]],
    )
    interval_seconds: float = Field(
        10.0,
        ge=1.0,
        le=300.0,
        description="time between two looks; a verdict is right two looks after a fault at the "
        "latest. Not shorter than the time between two commits of a healthy group",
    )
    request_seconds: float = Field(
        2.5, ge=0.5, le=60.0, description="time limit of a request to a broker"
    )
    records: int = Field(
        200,
        ge=0,
        le=10_000,
        description="lagging partitions of which a look reads a record, for the exact age",
    )
    series_max: int = Field(
        50_000,
        ge=1_000,
        le=1_000_000,
        description="most series of single partitions; with more, only those of groups are shown",
    )
    slo_group: str = Field(
        "",
        description="group whose decisions the service level objective counts; empty: "
        "`kafka.group`. Its input is `kafka.topics.transactions`",
    )
    slo_seconds: float = Field(
        1.0,
        ge=0.1,
        le=3_600.0,
        description="time from append within which a record is to be decided",
    )
    slo_every_seconds: float = Field(
        0.5, ge=0.1, le=60.0, description="time between two looks that count; at most `slo_seconds`"
    )
    reconcile_seconds: float = Field(
        30.0,
        ge=0.0,
        le=3_600.0,
        description="time between two comparisons of the input of `slo_group` with its decisions, "
        "dead letters and skips, and between two counts of the dead letters that wait; 0: none. "
        "`lag --serve` reads these topics for it",
    )

    @model_validator(mode="after")
    def _count_often_enough(self) -> Self:
        if self.slo_every_seconds > self.slo_seconds:
            raise ValueError("slo_every_seconds must be at most slo_seconds")
        return self


class Audit(SettingsGroup):
    """The log of actions and their actors, which shows whether it was altered."""

    path: Path | None = Field(
        None,
        description="file of the audit log, in an existing folder; empty: no audit log",
        examples=["/var/lib/stream-scorer/audit.log"],
    )
    key: Path | None = Field(
        None, description="private key that signs each line; empty: lines are not signed"
    )
    passphrase: SecretStr | None = Field(
        None,
        description="passphrase of an encrypted `audit.key`; belongs in a secret file or a "
        "variable",
    )
    rotate_bytes: int = Field(
        67_108_864,
        ge=65_536,
        le=2**40,
        description="maximum size of a file of the log, after which it is renamed and a new file "
        "is begun",
    )
    trusted_keys: dict[KeyName, str] = Field(
        default_factory=dict,
        description="public keys whose signatures `audit verify` accepts: name = PEM file, PEM or "
        "base64",
    )
    require_signature: bool = Field(
        default=False,
        description="`audit verify` refuses lines that no key of `audit.trusted_keys` has signed",
    )

    @model_validator(mode="after")
    def _leave_nothing_idle(self) -> Self:
        if self.key is not None and self.path is None:
            raise ValueError("key without path would sign nothing")
        if self.passphrase is not None and self.key is None:
            raise ValueError("passphrase without key would open nothing")
        if self.require_signature and not self.trusted_keys:
            raise ValueError("require_signature without trusted_keys would refuse every line")
        return self


class Settings(BaseSettings):
    """All settings: how and where a process runs."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    mode: Literal["development", "production"] = Field(
        "development",
        description="with `production`, a process refuses to start with unsafe settings",
    )
    kafka: Kafka = Kafka()
    registry: Registry = Registry()
    scorer: Scorer = Scorer()
    state: State = State()
    http: Http = Http()
    models: Models = Models()
    rollout: Rollout = Rollout()
    monitor: Monitor = Monitor()
    controller: Controller = Controller()
    profiler: Profiler = Profiler()
    performance: Performance = Performance()
    retrain: Retrain = Retrain()
    rekey: Rekey = Rekey()
    replay: Replay = Replay()
    logging: Logging = Logging()
    lag: Lag = Lag()
    audit: Audit = Audit()
    serving: Serving = Serving()
    edge: Edge = Edge()

    @model_validator(mode="after")
    def _poll_while_a_batch_is_scored(self) -> Self:
        """Nothing is polled until a batch counts as slow, and its transaction takes time, too."""
        patience, interval = self.scorer.model_timeout_ms, self.kafka.max_poll_interval_ms
        if patience >= interval / 2:
            raise ValueError(
                f"scorer.model_timeout_ms ({patience}) must be less than half of "
                f"kafka.max_poll_interval_ms ({interval})"
            )
        return self

    @model_validator(mode="after")
    def _slow_before_hung(self) -> Self:
        """A batch is checked for hanging only after it counts as slow."""
        slow, hang = self.scorer.model_timeout_ms / 1_000, self.scorer.hang_seconds
        if hang <= slow:
            raise ValueError(
                f"scorer.hang_seconds ({hang:g}) must be more than scorer.model_timeout_ms "
                f"({slow:g} s)"
            )
        return self

    @property
    def heartbeat_seconds(self) -> float:
        """How long an iteration of a loop may take before the loop counts as dead.

        A loop waits without a heartbeat until a batch counts as slow. It then waits for the broker
        to accept the offsets and to end the transaction, each for as long as a transaction may
        take.
        """
        waits_ms = self.scorer.model_timeout_ms + 2 * self.kafka.transaction_timeout_ms
        return max(self.scorer.stuck_seconds, waits_ms / 1_000 + 30.0)

    def of_process(
        self,
        name: Literal["monitor", "profiler", "controller", "performance", "rekey", "retrain"],
    ) -> "Settings":
        """Return these settings with the consumer group of a process, its ``NAME.group``."""
        group: str = getattr(self, name).group
        return self.model_copy(update={"kafka": self.kafka.model_copy(update={"group": group})})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, strongest first; a ``.env`` file is deliberately not read."""
        del dotenv_settings, file_secret_settings
        return (
            init_settings,
            InitSettingsSource(settings_cls, init_kwargs=secret_files(_SECRETS_VARIABLE)),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=config_file(_CONFIG.get())),
        )


def _refuse_unknown_environment() -> None:
    """Refuse a variable under our prefix that no setting reads: it is a spelling mistake."""
    for name in os.environ:
        if not name.startswith(_PREFIX) or name in _VARIABLES:
            continue
        group = name.removeprefix(_PREFIX).split("__")[0].lower()
        if group not in Settings.model_fields:
            raise SettingsError(
                f"environment variable {name}: no such setting",
                f"groups are {', '.join(Settings.model_fields)}",
            )


def load_settings(
    overrides: Mapping[str, Any] | None = None, config: Path | None = None
) -> Settings:
    """Read the settings from all sources.

    Args:
        overrides: Nested table of command-line flags; strongest.
        config: TOML file; instead of the one that ``STREAM_SCORER_CONFIG`` names.

    Raises:
        SettingsError: Unknown key, wrong type or range, unreadable file; names the key.
    """
    _refuse_unknown_environment()
    named = _CONFIG.set(str(config) if config else os.environ.get(_CONFIG_VARIABLE))
    try:
        loaded = Settings(**(overrides or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SettingsError(
                f"setting {where}: unknown key", "see docs/CONFIGURATION.md"
            ) from None
        # A rule between several groups has no setting as its location; its message names both.
        what = f"setting {where}" if where else "settings"
        raise SettingsError(f"{what}: {first['msg']}", "correct the value") from None
    except PydanticSettingsError as error:
        raise SettingsError(f"environment: {error}", "correct the variable") from None
    finally:
        _CONFIG.reset(named)
    remember_secrets(loaded)
    return loaded


def remember_secrets(settings: BaseModel) -> None:
    """Mask every secret of the settings wherever it would appear."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            remember_secrets(value)
        for each in value.values() if isinstance(value, dict) else (value,):
            if isinstance(each, SecretStr):
                remember(each.get_secret_value())
