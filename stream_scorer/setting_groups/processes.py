"""The other processes of a stream."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from stream_scorer.setting_types import SettingsGroup


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
