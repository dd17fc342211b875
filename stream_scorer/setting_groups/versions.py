"""Which model versions decide, who may change that, and the log of who did."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from stream_scorer.setting_files import MODELS_DIRECTORY
from stream_scorer.setting_types import KeyName, SettingsGroup


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
