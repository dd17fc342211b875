"""``retrain.toml``: parsed strictly into the rules of retraining."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_scorer.core.decision.routing import BUCKETS
from stream_scorer.errors import SettingsError
from stream_scorer.nesting import parse_toml
from stream_scorer.retraining.rules.contract import Choice, MaturedSplit, RetrainRules, SearchRange
from stream_scorer.retraining.rules.schedule import check_schedule
from stream_scorer.settings import Settings

RULES_FILE: Final = Path("retrain.toml")
"""The rules, where no setting and no option names others."""
_FILE_BYTES_MOST: Final = 64 * 1024
_DAYS_MOST: Final = 4_000
_ALL: Final = 100.0
_PER_CENT: Final = BUCKETS / _ALL
_ROUNDING: Final = 1e-6
_TOLD: Final = {"extra_forbidden": "unknown key", "model_type": "must be a table"}
"""What is wrong, by pydantic's type of an error, where its own text names a class."""
Bound = Annotated[float, Field(ge=-1e15, le=1e15)]
"""End of a range: a larger whole number would have no exact float."""
Days = Annotated[int, Field(ge=1, le=_DAYS_MOST)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Guards(_Part):
    least_frauds: Annotated[int, Field(ge=1)] = 300
    least_days: Days = 6
    cooldown_days: Annotated[float, Field(ge=0, le=_DAYS_MOST)] = 7.0


class _Split(_Part):
    train_days: Days = 28
    validation_days: Days = 1
    test_days: Days = 2
    since_onset: bool = True


class _Range(_Part):
    low: Bound
    high: Bound
    log: bool = False
    whole: bool = False


class _Rollout(_Part):
    ramp: Annotated[list[float], Field(min_length=1, max_length=100)] = [0.0, 50.0]


class _File(_Part):
    model: str = "hist_gradient_boosting"
    features: Annotated[str, Field(min_length=1)] | None = None
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1
    cost_of_retraining: Annotated[float, Field(ge=0)]
    horizon_days: Days
    schedule: str = ""
    guards: _Guards = _Guards()
    split: _Split = _Split()
    space: dict[str, _Range | list[float | int | str | bool]] = {}
    rollout: _Rollout = _Rollout()


def chosen_rules(settings: Settings, named: Path | None) -> RetrainRules:
    """Read the rules that an option, else the settings name, else ``retrain.toml``.

    Args:
        settings: ``performance.retrain_rules`` has the rules of the early warning.
        named: By the option; None without it.

    Raises:
        SettingsError: As of :func:`read_rules`; or option and setting name different rules: the
            early warning and the trainer would not tolerate the same rise.
    """
    own = settings.performance.retrain_rules
    rules = read_rules(named or own or RULES_FILE)
    if named is not None and own is not None and read_rules(own) != rules:
        raise SettingsError(
            f"{named}: has other rules than performance.retrain_rules, {own}",
            "leave out --rules",
        )
    return rules


def read_rules(path: Path) -> RetrainRules:
    """Read ``retrain.toml``.

    Raises:
        SettingsError: Unreadable, too large, or a key is unknown, missing or wrong; names the key.
    """
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8") if size <= _FILE_BYTES_MOST else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error})", "name a file: --rules") from error
    if size > _FILE_BYTES_MOST:
        raise SettingsError(f"{path}: larger than {_FILE_BYTES_MOST} bytes", "name retrain.toml")
    try:
        rules = rules_of(parse_toml(text))
    except ValueError as error:
        raise SettingsError(f"{path}: {error}", "see docs/RETRAINING.md") from None
    if rules.features is None:
        return rules
    return replace(rules, features=path.parent / rules.features)


def rules_of(table: Mapping[str, Any]) -> RetrainRules:
    """Return the rules of a table.

    Args:
        table: From TOML.

    Raises:
        ValueError: A key is unknown, missing or wrong; names the key.
    """
    try:
        file = _File.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != _Range.__name__)
        told = _TOLD.get(first["type"], first["msg"])
        if first["type"] == "model_type" and first["loc"][0] == "space":
            told = "must be a range, with low and high, or a list of numbers and texts"
        raise ValueError(f"{where}: {told}") from None
    check_schedule(file.schedule)
    _check_ramp(file.rollout.ramp)
    split = file.split
    days = MaturedSplit(
        split.train_days, split.validation_days, split.test_days, split.since_onset
    )  # fmt: skip
    if file.guards.least_days < days.validation + days.test + 1:
        raise ValueError(
            f"guards.least_days: {file.guards.least_days} leaves no day to train on, with "
            f"{days.validation} of validation and {days.test} of test"
        )
    return RetrainRules(
        model=file.model,
        features=None if file.features is None else Path(file.features),
        space={name: _searched(name, each) for name, each in file.space.items()},
        trials=file.trials,
        seed=file.seed,
        cost=file.cost_of_retraining,
        horizon_days=file.horizon_days,
        least_frauds=file.guards.least_frauds,
        least_days=file.guards.least_days,
        cooldown_days=file.guards.cooldown_days,
        schedule=file.schedule,
        days=days,
        ramp=tuple(file.rollout.ramp),
    )


def _check_ramp(ramp: list[float]) -> None:
    if ramp[0] != 0:
        raise ValueError("rollout.ramp: begins with a shadow, at 0")
    if any(later <= earlier for earlier, later in pairwise(ramp)) or ramp[-1] > _ALL:
        raise ValueError("rollout.ramp: must ascend, up to 100")
    for percent in ramp:
        # A plan refuses it, but only after the training.
        if abs(percent * _PER_CENT - round(percent * _PER_CENT)) > _ROUNDING:
            raise ValueError(f"rollout.ramp: {percent} is not a multiple of 0.01")


def _searched(name: str, value: _Range | list[float | int | str | bool]) -> SearchRange | Choice:
    if isinstance(value, list):
        if not value:
            raise ValueError(f"space.{name}: has no value")
        return tuple(value)
    if value.low >= value.high:
        raise ValueError(f"space.{name}: low must be less than high")
    if value.log and value.low <= 0:
        raise ValueError(f"space.{name}: low must be above 0 for log")
    if value.whole and (value.low != round(value.low) or value.high != round(value.high)):
        raise ValueError(f"space.{name}: low and high must be whole numbers")
    return SearchRange(value.low, value.high, value.log, value.whole)
