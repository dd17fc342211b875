"""The settings tree: how and where a process runs.

A decision depends on the input, the model and the plan. Only the settings that name the model, the
plan or the schemas (``models.*``, ``rollout.*``, ``registry.*``) determine which these are.

Sources, later wins: defaults, the TOML file named by ``--config`` or ``STREAM_SCORER_CONFIG``,
environment variables (``STREAM_SCORER_KAFKA__BOOTSTRAP=...``), secret files
(``STREAM_SCORER_SECRETS_DIR``), command-line flags. An unknown key is an error.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
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
    MODELS_DIRECTORY,
    SCHEMAS_DIRECTORY,
    config_file,
    secret_files,
)
from stream_scorer.setting_groups.cluster import Kafka, Registry, Topics
from stream_scorer.setting_groups.processes import Controller, Profiler, Rekey, Replay, Retrain
from stream_scorer.setting_groups.scorers import Http, Logging, Scorer, State
from stream_scorer.setting_groups.versions import Audit, Models, Rollout
from stream_scorer.setting_groups.watching import Lag, Monitor, Performance

__all__ = [
    "MODELS_DIRECTORY",
    "PASSPHRASE_VARIABLE",
    "PRODUCTION",
    "SCHEMAS_DIRECTORY",
    "Audit",
    "Controller",
    "Http",
    "Kafka",
    "Lag",
    "Logging",
    "Models",
    "Monitor",
    "Performance",
    "Profiler",
    "Registry",
    "Rekey",
    "Replay",
    "Retrain",
    "Rollout",
    "Scorer",
    "Serving",
    "Settings",
    "State",
    "Topics",
    "journal_of_process",
    "load_settings",
    "remember_secrets",
]

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


# The journal and the instance of the settings that were loaded last, or could not be loaded.
_JOURNAL: ContextVar[tuple[Path | None, str]] = ContextVar("journal", default=(None, ""))


class _Sources(BaseSettings):
    """Where settings are read from."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

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


class _JournalSettings(_Sources):
    """What the last line of a process needs, whatever is wrong with the other settings."""

    model_config = SettingsConfigDict(extra="ignore")
    logging: Logging = Logging()
    kafka: dict[str, Any] = Field(default_factory=dict)


class Settings(_Sources):
    """All settings: how and where a process runs."""

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
    named = _CONFIG.set(str(config) if config else os.environ.get(_CONFIG_VARIABLE))
    try:
        return _load(overrides or {})
    except SettingsError:
        _JOURNAL.set(_journal_alone(overrides or {}))
        raise
    finally:
        _CONFIG.reset(named)


def journal_of_process() -> tuple[Path | None, str]:
    """Return the journal and the instance that were named last, by settings that are valid or not.

    The journal is None if none was named, or if what names it cannot be read.
    """
    return _JOURNAL.get()


def _load(overrides: Mapping[str, Any]) -> Settings:
    _refuse_unknown_environment()
    try:
        loaded = Settings(**overrides)
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
    remember_secrets(loaded)
    _JOURNAL.set((loaded.logging.journal, loaded.kafka.instance))
    return loaded


def _journal_alone(overrides: Mapping[str, Any]) -> tuple[Path | None, str]:
    """Read the journal and the instance from settings that are wrong elsewhere."""
    # If the file cannot be read, variables can.
    for config in (_CONFIG.get(), None):
        _CONFIG.set(config)
        with suppress(ValidationError, PydanticSettingsError, SettingsError):
            found = _JournalSettings(**overrides)
            return found.logging.journal, str(found.kafka.get("instance", Kafka().instance))
    return None, ""


def remember_secrets(settings: BaseModel) -> None:
    """Mask every secret of the settings wherever it would appear."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            remember_secrets(value)
        for each in value.values() if isinstance(value, dict) else (value,):
            if isinstance(each, SecretStr):
                remember(each.get_secret_value())
