"""The rules of a plan: how a candidate is judged, and what the controller may do."""

import base64
import binascii
from typing import Annotated, Final, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, field_validator, model_validator

from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.rollout.evidence.guardrail import GUARDS, Guard, GuardLimits
from stream_scorer.rollout.plan.strict_parsing import DAY_SECONDS, Percent, StrictModel
from stream_scorer.security.keys import key_id

_KEY_BYTES = 32
_LEAST_ALPHA, _MOST_COST, _MOST_COUNT = 1e-100, 1e100, 2**53
"""Within these limits, every number of a judgement is finite."""
_LIMITS = GuardLimits()

LET_THROUGH: Final = ("least_let_through", "least_genuine")
"""Keys of ``guard`` that only plans of format 4 have: they count only where a plan explores."""

Limited = Literal["step", "switch", "promote", "rollback", "pause"]
"""Kinds of commands that a plan can allow its controller."""


class DecisionCosts(StrictModel):
    """Costs of single decisions; see ``rollout.evidence.costs.BoundedCosts``."""

    most: float = 200.0
    missed_share: float = 1.0
    missed_fixed: float = 0.0
    review: float = 5.0
    false_block: float = 25.0

    @model_validator(mode="after")
    def _be_costs(self) -> Self:
        self.bounded()
        for name in type(self).model_fields:
            if getattr(self, name) > _MOST_COST:
                raise ValueError(f"{name}: must be at most {_MOST_COST:g}")
        return self

    def bounded(self) -> BoundedCosts:
        """Return the costs in the guard's type."""
        return BoundedCosts(**self.model_dump())


class Rules(StrictModel):
    """The rules by which a candidate is judged; see docs/ROLLOUT.md.

    Attributes:
        alpha: As in ``guardrail.GuardLimits``; so are the next seven.
        first_look: Number of decisions, of all arms, at the first look.
        tolerance: By guard, the share by which the canary may differ without harm.
        slow_call_us: A model call of an arm is slow if it takes more microseconds per row.
        maturity_seconds: Age, in event time, at which a decision matures: labels that are known by
            then count.
        deadline_seconds: Duration, in event time, after which the rollout is INCONCLUSIVE.
        costs: Costs of decisions.
    """

    alpha: float = _LIMITS.alpha
    alpha_mismatch: float = _LIMITS.alpha_mismatch
    least_events: int = _LIMITS.least_events
    least_pairs: int = _LIMITS.least_pairs
    least_frauds: int = _LIMITS.least_frauds
    delta: float = _LIMITS.delta
    least_let_through: int = _LIMITS.least_let_through
    least_genuine: int = _LIMITS.least_genuine
    first_look: Annotated[int, Field(ge=1, le=10**12)] = 1_000
    tolerance: dict[str, float] = Field(default_factory=dict)
    slow_call_us: Annotated[float, Field(gt=0, le=1e9)] = 1_000.0
    maturity_seconds: Annotated[int, Field(ge=0, le=400 * DAY_SECONDS)] = 7 * DAY_SECONDS
    deadline_seconds: Annotated[int, Field(ge=1, le=4_000 * DAY_SECONDS)] = 90 * DAY_SECONDS
    costs: DecisionCosts = DecisionCosts()

    @field_validator("tolerance")
    @classmethod
    def _name_guards(cls, tolerance: dict[str, float]) -> dict[str, float]:
        known = [guard.name for guard in GUARDS]
        for name in tolerance:
            if name not in known:
                raise ValueError(f"no guard {name!r}; there are {', '.join(known)}")
        return tolerance

    @model_validator(mode="after")
    def _be_limits(self) -> Self:
        self.limits()
        self.guards()
        for name in ("alpha", "alpha_mismatch"):
            if getattr(self, name) < _LEAST_ALPHA:
                raise ValueError(f"{name}: must be at least {_LEAST_ALPHA:g}")
        for name in ("least_events", "least_pairs", "least_frauds", *LET_THROUGH):
            if getattr(self, name) > _MOST_COUNT:
                raise ValueError(f"{name}: must be at most {_MOST_COUNT}")
        if self.delta > _MOST_COST:
            raise ValueError(f"delta: must be at most {_MOST_COST:g}")
        return self

    def limits(self) -> GuardLimits:
        """Return the limits in the guard's type."""
        return GuardLimits(
            self.alpha, self.alpha_mismatch, self.least_events, self.least_pairs,
            self.least_frauds, self.delta, self.least_let_through, self.least_genuine,
        )  # fmt: skip

    def guards(self) -> tuple[Guard, ...]:
        """Return the fast guards with their tolerances."""
        return tuple(Guard(g.name, g.harm, self.tolerance.get(g.name, 0.0)) for g in GUARDS)


class ControllerRules(StrictModel):
    """What the controller may do, and how far it may advance the rollout.

    Attributes:
        key: Its public key, base64 of 32 bytes; empty if it signs nothing.
        may: Kinds of commands that it may write; verdicts and proposals are always allowed.
        manual: Those of them that a person approves first.
        up_to: Percentage of customers up to which it steps. Below 100 it may not promote or switch,
            as either concerns all customers.
    """

    key: Annotated[str, Field(max_length=64)] = ""
    may: tuple[Limited, ...] = ("step", "rollback", "promote")
    manual: tuple[Limited, ...] = ()
    up_to: Percent = 100.0

    @field_validator("key")
    @classmethod
    def _be_a_key(cls, key: str) -> str:
        if key:
            public_key_of(key)
        return key

    @model_validator(mode="after")
    def _ask_for_what_it_may(self) -> Self:
        for kind in self.manual:
            if kind not in self.may:
                raise ValueError(f"manual: {kind} is not among what it may do at all")
        return self

    @property
    def public_key(self) -> Ed25519PublicKey | None:
        """Its key; None if it signs nothing."""
        return public_key_of(self.key) if self.key else None

    @property
    def key_id(self) -> str:
        """The id of its key; empty without one."""
        return key_id(public_key_of(self.key)) if self.key else ""


def public_key_of(key: str) -> Ed25519PublicKey:
    """Return the key of a text.

    Raises:
        ValueError: It is not the base64 of 32 bytes.
    """
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ValueError("is not the base64 of a public key's 32 bytes")
    return Ed25519PublicKey.from_public_bytes(raw)
