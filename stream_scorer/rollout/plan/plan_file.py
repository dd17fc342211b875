"""The plan of a rollout: its strategy and versions, its limits, and the rules of its judgement.

An operator writes a plan as TOML. It is completed here with every default, and kept in the control
log as complete JSON. So a later version of the program with other defaults reads the same plan.
Nothing here depends on a clock or on chance; the command that starts a rollout draws its salt.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from stream_scorer.core.decision.decide_batch import CENTRAL_ARM
from stream_scorer.core.decision.given_rows import EDGE_ARM
from stream_scorer.core.decision.routing import (
    BUCKETS,
    CANARY,
    CHAMPION,
    CONTROL,
    Override,
    Version,
)
from stream_scorer.core.events.plan import PARTS, Plan, plan_from, table_of
from stream_scorer.nesting import parse_toml
from stream_scorer.rollout.plan.judging_rules import LET_THROUGH, ControllerRules, Rules
from stream_scorer.rollout.plan.retrain_grant import Provenance
from stream_scorer.rollout.plan.strict_parsing import (
    DAY_SECONDS,
    FORMAT,
    PLAN_FORMAT,
    Arm,
    Body,
    EventTime,
    Label,
    Percent,
    StrictModel,
    buckets_of,
    read,
    whole_buckets,
)

BLUE, GREEN = COLOURS = ("blue", "green")
_WITH_PARTS: Final = 2
_WITH_SEGMENTS: Final = 3
_NEWEST_TABLES: Final = ("label_policy", "explore", "review_sample")
_SHARED: Final = {
    _WITH_PARTS: "a policy or a mapping",
    _WITH_SEGMENTS: "segments",
    PLAN_FORMAT: "a label policy, an exploration or a review sample",
}
DEFAULT_RAMP = (1, 5, 25, 50, 100)
"""Percentages of a canary whose plan file has no ramp."""


class Strategy(StrEnum):
    """How versions share the traffic."""

    CHAMPION = "champion"
    """One version decides everything."""
    SHADOW = "shadow"
    """The champion decides; every other version is a shadow."""
    CANARY = "canary"
    """A candidate decides for more and more customers, next to an equally large control."""
    BLUE_GREEN = "blue-green"
    """One of two versions decides everything; the other is kept warm."""
    SPLIT = "split"
    """Each arm decides for a fixed share."""


class Stage(StrictModel):
    """One stage of a ramp.

    Attributes:
        percent: The canary's share of customers, in whole hundredths of a per cent; at 0 it is a
            shadow.
        least_seconds: Minimum duration of the stage for the controller, in event time.
    """

    percent: Percent
    least_seconds: Annotated[int, Field(ge=0, le=400 * DAY_SECONDS)] = 0

    @field_validator("percent")
    @classmethod
    def _hold_whole_buckets(cls, percent: float) -> float:
        return whole_buckets(percent)

    @property
    def buckets(self) -> int:
        """The canary's buckets, of 10,000."""
        return buckets_of(self.percent)


class OverrideRule(StrictModel):
    """Lets an arm decide transactions with one of these values; see ``core.decision.routing``."""

    field: Literal["currency", "channel", "customer_id"]
    values: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1_024)], ...], Field(min_length=1)
    ]
    arm: Arm

    @property
    def override(self) -> Override:
        """The override in the routing's type."""
        return Override(self.field, self.values, self.arm)


class RolloutPlan(Body):
    """The plan of one rollout.

    Attributes:
        format: Version of this layout: 2 if ``shared`` has a part that format 1 does not know, such
            as a policy or a mapping of records; 3 if it has segments; 4 if it has a label policy,
            an exploration or a review sample, or if there is a ``provenance``.
        name: The rollout's name, for people.
        strategy: How versions share the traffic.
        versions: NAME:VERSION by arm; ``blue`` and ``green``, or ``champion`` and others. Arms that
            decide nothing are shadows, except for the idle colour.
        salt: Of the customers' buckets.
        ramp: The canary's stages, ascending.
        shares: Of a split, per cent by arm; they sum to 100.
        active: The colour that decides first, and again after a rollback; empty: blue.
        effective_at: Event time, ms, of the first transaction that it decides; None: immediately.
        overrides: The first one that matches a transaction is used.
        guard: The rules by which the candidate is judged.
        controller: The rights of its controller; None: only operators move the rollout.
        shared: What all arms share: keys of ``core.events.plan.Plan``, except for the revision.
        provenance: Where the candidate is from, in a plan that a trainer signs; None in any other.
    """

    format: Literal[1, 2, 3, 4] = FORMAT  # type: ignore[assignment] # others have 1 alone
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$")]
    strategy: Strategy
    versions: dict[Arm, Label]
    salt: Annotated[str, Field(max_length=200)] = ""
    ramp: Annotated[tuple[Stage, ...], Field(max_length=100)] = ()
    shares: dict[Arm, Percent] = Field(default_factory=dict)
    active: Literal["", "blue", "green"] = ""
    effective_at: EventTime | None = None
    overrides: Annotated[tuple[OverrideRule, ...], Field(max_length=100)] = ()
    guard: Rules = Rules()
    controller: ControllerRules | None = None
    shared: dict[str, JsonValue] = Field(default_factory=dict, validate_default=True)
    provenance: Provenance | None = None

    @field_validator("shared")
    @classmethod
    def _say_all_that_is_shared(cls, shared: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if "revision" in shared:
            raise ValueError("revision: is the number of the command in the log, not the plan's")
        whole = table_of(plan_from(shared))
        del whole["revision"]
        return whole

    @model_validator(mode="after")
    def _say_its_format(self) -> Self:
        if self.format < (least := _format_of(self.shared)):
            raise ValueError(f"format: must be {least} for a plan that shares {_SHARED[least]}")
        if self.provenance is not None and self.format < PLAN_FORMAT:
            raise ValueError(f"format: must be {PLAN_FORMAT} for a plan with a provenance")
        for name in LET_THROUGH if self.format < PLAN_FORMAT else ():
            if getattr(self.guard, name) != Rules.model_fields[name].default:
                raise ValueError(f"guard.{name}: is for a plan that explores")
        return self

    @model_validator(mode="after")
    def _fit_its_strategy(self) -> Self:
        _CHECKS[self.strategy](self)
        for name, strategy in _ONLY_IN.items():
            if getattr(self, name) and self.strategy is not strategy:
                raise ValueError(f"{name}: is for strategy {strategy}, and this is {self.strategy}")
        if self.strategy in {Strategy.SHADOW, Strategy.CANARY, Strategy.SPLIT} and not self.salt:
            raise ValueError("salt: must not be empty, for it deals customers to buckets")
        for rule in self.overrides:
            if self.strategy not in {Strategy.CANARY, Strategy.SPLIT}:
                raise ValueError(f"overrides: strategy {self.strategy} has none")
            if rule.arm not in self.versions:
                raise ValueError(f"overrides: arm {rule.arm!r} has no version")
        return self

    def version(self, arm: str) -> Version:
        """Return the version of an arm that is in ``versions``."""
        name, _, version = self.versions[arm].partition(":")
        return Version(name, version)

    @model_serializer(mode="wrap")
    def _without_newer_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what formats 1 to 3 do not know, and what is not there."""
        whole: dict[str, Any] = dump(self)
        if self.provenance is None:
            whole.pop("provenance", None)
        for name in LET_THROUGH if self.format < PLAN_FORMAT else ():
            whole.get("guard", {}).pop(name, None)
        return whole

    @property
    def first(self) -> str:
        """The arm that decides everything after a rollback."""
        return (self.active or BLUE) if self.strategy is Strategy.BLUE_GREEN else CHAMPION

    @property
    def candidates(self) -> tuple[str, ...]:
        """The arms that may be promoted."""
        return tuple(arm for arm in self.versions if arm != self.first)

    @property
    def judged(self) -> str | None:
        """The arm that is compared with the champion; None if there is no single such arm."""
        if self.strategy is Strategy.CANARY:
            return CANARY
        if self.strategy is Strategy.SHADOW and len(self.candidates) == 1:
            return self.candidates[0]
        return None

    def shared_plan(self, revision: int) -> Plan:
        """Return what all arms share, as the plan of a revision."""
        return plan_from({**self.shared, "revision": revision})


def plan_of(table: Mapping[str, Any]) -> RolloutPlan:
    """Return the plan of a table.

    Args:
        table: From TOML or JSON; ``effective_at`` may be a date and time with its zone.

    Raises:
        ValueError: A key is unknown, missing or wrong, or an arm has a reserved name; names the
            key.
    """
    given = dict(table)
    if isinstance(when := given.get("effective_at"), datetime):
        if when.tzinfo is None:
            raise ValueError("effective_at: a date and time needs its zone, such as Z")
        given["effective_at"] = round(when.timestamp() * 1_000)
    if given.get("provenance") is not None:
        given.setdefault("format", PLAN_FORMAT)
    if isinstance(shared := given.get("shared"), dict):
        given.setdefault("format", _format_of(shared))
    plan = read(RolloutPlan, given)
    # Only a new plan is refused: a log that has such an arm is folded as before.
    for arm in (EDGE_ARM, CENTRAL_ARM):
        if arm in plan.versions:
            raise ValueError(f"versions: {arm} is the arm of devices' transactions; use another")
    return plan


def _format_of(shared: Mapping[str, Any]) -> int:
    """Return the oldest version of the layout that knows what is shared."""
    if any(shared.get(name) for name in _NEWEST_TABLES):
        return PLAN_FORMAT
    if shared.get("segments"):
        return _WITH_SEGMENTS
    return _WITH_PARTS if any(shared.get(name) for name in PARTS.values()) else FORMAT


def plan_table(text: str) -> dict[str, Any]:
    """Parse a plan's TOML without checks, so that options can still change the table.

    Raises:
        ValueError: Not TOML, or nested too deep.
    """
    return parse_toml(text)


def _check_champion(plan: RolloutPlan) -> None:
    if set(plan.versions) != {CHAMPION}:
        raise ValueError("versions: strategy champion has the arm champion alone")


def _check_shadow(plan: RolloutPlan) -> None:
    _need(plan, CHAMPION)
    if len(plan.versions) == 1:
        raise ValueError("versions: a shadow needs another arm than the champion")


def _check_canary(plan: RolloutPlan) -> None:
    _need(plan, CHAMPION, CANARY)
    if not plan.ramp:
        raise ValueError("ramp: a canary needs one stage at least")
    if any(later.percent <= earlier.percent for earlier, later in pairwise(plan.ramp)):
        raise ValueError("ramp: its percents must ascend, for a ramp only adds customers")
    if not plan.ramp[0].buckets and any(rule.arm == CANARY for rule in plan.overrides):
        raise ValueError(
            f"overrides: arm {CANARY!r} decides for some, and so is not a shadow where the ramp "
            "begins, at 0 %: nothing would be judged there, and the ramp would never continue; "
            "begin it above 0 %, or leave the override out"
        )


def _check_blue_green(plan: RolloutPlan) -> None:
    if set(plan.versions) != set(COLOURS):
        raise ValueError("versions: strategy blue-green has the arms blue and green")
    if plan.versions[BLUE] == plan.versions[GREEN]:
        raise ValueError("versions: blue and green are the same version")


def _check_split(plan: RolloutPlan) -> None:
    _need(plan, CHAMPION)
    for arm, percent in plan.shares.items():
        if arm not in plan.versions:
            raise ValueError(f"shares: arm {arm!r} has no version")
        whole_buckets(percent)
    if sum(map(buckets_of, plan.shares.values())) != BUCKETS:
        raise ValueError(f"shares: must sum to 100, not {sum(plan.shares.values()):g}")


def _need(plan: RolloutPlan, *arms: str) -> None:
    for arm in arms:
        if arm not in plan.versions:
            raise ValueError(f"versions: strategy {plan.strategy} needs the arm {arm}")
    for arm in (CONTROL, *COLOURS):
        if arm in plan.versions:
            raise ValueError(
                f"versions: the arm {arm} is not for a plan of {plan.strategy} to name"
            )


_CHECKS = {
    Strategy.CHAMPION: _check_champion,
    Strategy.SHADOW: _check_shadow,
    Strategy.CANARY: _check_canary,
    Strategy.BLUE_GREEN: _check_blue_green,
    Strategy.SPLIT: _check_split,
}
_ONLY_IN = {
    "ramp": Strategy.CANARY,
    "shares": Strategy.SPLIT,
    "active": Strategy.BLUE_GREEN,
}
