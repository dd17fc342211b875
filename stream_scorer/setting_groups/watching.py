"""The processes that watch: drift, performance, lag."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from stream_scorer.setting_files import has_password
from stream_scorer.setting_types import GroupName, SettingsGroup


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
        if not text:
            return text
        begin = datetime.fromisoformat(text)
        if begin.tzinfo is None:
            raise ValueError("needs an offset from UTC, such as 2026-01-31T00:00:00Z")
        if begin > datetime.now(UTC) + timedelta(days=1):
            raise ValueError("is in the future: no event would be old enough")
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
        "matter; 0: 5 % of the usual cost, or what `performance.retrain_rules` gives",
    )
    retrain_rules: Path | None = Field(
        None,
        description="`retrain.toml`; its cost of a retraining, its horizon and the decisions a day "
        "give the rise that does not matter, and its horizon is that of `performance.alpha`",
        examples=["retrain.toml"],
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

    @model_validator(mode="after")
    def _take_the_tolerance_once(self) -> Self:
        if self.retrain_rules is not None and self.tolerance > 0:
            raise ValueError("tolerance and retrain_rules both give the tolerance: name one")
        return self


class Lag(SettingsGroup):
    """What `stream-scorer lag --serve` and `--watch` observe."""

    groups: list[GroupName] = Field(
        default_factory=list,
        description="consumer groups, with `*` and `?`; empty: `kafka.group`",
        examples=[["fraud-*", "billing"]],
    )
    groups_max: int = Field(
        200,
        ge=1,
        le=2_000,
        description="most groups that are watched, each with a separate connection. If more "
        "match, those beyond are left out: `stream_scorer_lag_groups_left_out`. So are groups "
        "with a name of more than 200 characters that only a pattern matches",
    )
    interval_seconds: float = Field(
        10.0,
        ge=1.0,
        le=120.0,
        description="time between two looks; a verdict is right two looks after a fault at the "
        "latest. A group that commits less often than once a minute needs a longer one",
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
        description="most series of single partitions; with more, only those of groups are shown. "
        "The limit also holds for partitions by verdict: with more, only verdicts that hold are "
        "shown, the heaviest first",
    )
    slo_group: str = Field(
        "",
        description="group whose decisions the service level objective counts; empty: "
        "`kafka.group`. Its input is `kafka.topics.transactions`",
    )
    slo_seconds: float = Field(
        1.0,
        ge=0.0,
        le=3_600.0,
        description="time from append within which a record is to be decided; 0: nothing is "
        "counted, as for groups that are not scorers",
    )
    slo_every_seconds: float = Field(
        0.45,
        ge=0.1,
        le=60.0,
        description="time between two looks that count; at most `slo_seconds`. A little less than "
        "half of `slo_seconds`, or than a third, is most exact where records are rare",
    )
    reconcile_seconds: float = Field(
        30.0,
        ge=0.0,
        le=600.0,
        description="time between two comparisons of the input of `slo_group` with its decisions, "
        "dead letters and skips, and between two counts of the dead letters that wait; 0: none. "
        "`lag --serve` reads these topics for it",
    )

    @model_validator(mode="after")
    def _count_often_enough(self) -> Self:
        if self.slo_seconds and self.slo_every_seconds > self.slo_seconds:
            raise ValueError("slo_every_seconds must be at most slo_seconds")
        return self

    @field_validator("slo_group")
    @classmethod
    def _count_one_group(cls, value: str) -> str:
        if "*" in value or "?" in value:
            raise ValueError("slo_group is the name of one group, without * and ?")
        return value

    @model_validator(mode="after")
    def _watch_all_that_are_named(self) -> Self:
        if len(self.groups) > self.groups_max:
            raise ValueError("groups has more entries than groups_max")
        return self
