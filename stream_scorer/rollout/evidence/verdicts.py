"""The rules of a judgement, the state of the two ways to judge, and the judgements."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import BUCKETS
from stream_scorer.core.events.explore_table import ExploreTable
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.rollout.evidence.bucket_counts import Slots, Tallies
from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.rollout.evidence.guardrail import (
    GUARDS,
    Evidence,
    Guard,
    GuardLimits,
    Judgement,
    Verdict,
)
from stream_scorer.rollout.evidence.let_through import LetThrough

Float64 = NDArray[np.float64]

CANARY_WAY, SHADOW_WAY = "canary", "shadow"
FAST, SLOW = "fast", "slow"
CALLS: Final = "slow_calls"
"""The guard that compares timed calls."""
_PAIRS: Final = {CANARY_WAY: BUCKETS // 2, SHADOW_WAY: BUCKETS}


@dataclass(frozen=True, slots=True)
class Trial:
    """The rules by which a rollout is judged; they do not change during the rollout.

    Attributes:
        began: Its first revision.
        salt: Of the customers' buckets.
        candidate: The arm of the candidate, by its name as a shadow.
        limits: The limits of the verdicts.
        guards: The fast guards of the canary.
        shadow_guards: The fast guards in shadow. Calls are not compared there, as a shadow's model
            is called last.
        first_look: Number of transactions, of all arms, at the first look.
        slow_call_us: A model call is slow if it takes more microseconds per row.
        costs: Costs of decisions, in units of the currency.
        minor_per_unit: Minor units in a unit of the currency.
        deadline_ms: Duration, in event time, after which the rollout is inconclusive.
        both_ways: Whether it is judged in shadow and then as a canary. Each way then has half of
            the error probabilities.
        explore: Which would-be BLOCKs the plan lets through; None: none.
        policy: What a decision without a label counts as.
    """

    began: int
    salt: str
    candidate: str
    limits: GuardLimits
    costs: BoundedCosts
    guards: tuple[Guard, ...] = GUARDS
    shadow_guards: tuple[Guard, ...] = tuple(g for g in GUARDS if g.name != CALLS)
    first_look: int = 1_000
    slow_call_us: float = 1_000.0
    minor_per_unit: int = 100
    deadline_ms: int = 2**62
    both_ways: bool = False
    explore: ExploreTable | None = None
    policy: LabelPolicy = field(default_factory=LabelPolicy.absent)

    @property
    def way_limits(self) -> GuardLimits:
        """The limits of one way."""
        if not self.both_ways:
            return self.limits
        alpha, mismatch = self.limits.alpha / 2, self.limits.alpha_mismatch / 2
        return replace(self.limits, alpha=alpha, alpha_mismatch=mismatch)


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgement, and the position of the stream at that time.

    Attributes:
        way: ``CANARY_WAY`` or ``SHADOW_WAY``.
        guard: ``FAST`` or ``SLOW``.
        look: The number of the look.
        revision: The newest revision that had decided.
        clock_ms: Watermark of event time.
        judgement: The judgement.
    """

    way: str
    guard: str
    look: int
    revision: int
    clock_ms: int
    judgement: Judgement

    def plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {**asdict(replace(self, judgement=None)), "judgement": self.judgement.plain()}  # type: ignore[arg-type]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Judged":
        """Return the judgement of a result of :meth:`plain`."""
        said = told["judgement"]
        judgement = Judgement(Verdict(said["verdict"]), tuple(said["reasons"]), said["numbers"])
        return cls(**{**told, "judgement": judgement})


@dataclass(slots=True)
class Since:
    """When a revision began to decide.

    Attributes:
        clock_ms: Watermark of event time at its first transaction.
        canary: Its rows on the canary's side, or in shadow.
        control: Its rows on the control's side, or in shadow.
    """

    clock_ms: int
    canary: int = 0
    control: int = 0


@dataclass(slots=True)
class Way:
    """Counts and evidence of one way to judge.

    Attributes:
        name: ``CANARY_WAY`` or ``SHADOW_WAY``.
        tallies: Counts by bucket.
        cost: float64[2, pairs], costs of matured decisions, by side; where they are not known, the
            lowest that is possible.
        high: float64[2, pairs], likewise the highest.
        matured_count: float64[2, pairs], number of matured decisions, by side.
        slots: Timed calls.
        seen: Number of transactions that count towards its fast looks.
        matured: Number of matured transactions that count towards its slow looks.
        frauds: Number of frauds among the matured, by side.
        fast: Evidence without labels.
        slow: Evidence with them.
        last: Last judgement of each guard.
        through: What was let through, by side.
    """

    name: str
    tallies: Tallies
    cost: Float64
    high: Float64
    matured_count: Float64
    slots: Slots = field(default_factory=Slots)
    seen: int = 0
    matured: int = 0
    frauds: list[int] = field(default_factory=lambda: [0, 0])
    fast: Evidence = field(default_factory=Evidence)
    slow: Evidence = field(default_factory=Evidence)
    last: dict[str, Judged] = field(default_factory=dict)
    through: tuple[LetThrough, LetThrough] = field(
        default_factory=lambda: (LetThrough(), LetThrough())
    )

    @classmethod
    def new(cls, name: str) -> "Way":
        """Return a way without counts."""
        size = _PAIRS[name]
        cost, high, count = np.zeros((3, 2, size))
        return cls(name, Tallies(size), cost, high, count)

    def plain(self) -> dict[str, Any]:
        """Return all but the arrays as plain data for JSON."""
        return {
            "slots": self.slots.plain(), "seen": self.seen, "matured": self.matured,
            "frauds": self.frauds,
            "fast": [self.fast.look, dict(self.fast.e)],
            "slow": [self.slow.look, dict(self.slow.e)],
            "last": {guard: judged.plain() for guard, judged in self.last.items()},
            "through": [side.plain() for side in self.through],
        }  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        found = {
            "tallies": self.tallies.found, "cost": self.cost, "high": self.high,
            "count": self.matured_count,
        }  # fmt: skip
        return {f"{self.name}.{name}": array for name, array in found.items()}

    @classmethod
    def read(cls, name: str, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> "Way":
        """Return the way of the results of :meth:`plain` and :meth:`arrays`.

        Those of an earlier release have neither ``high`` nor ``through``: all costs were known.
        """
        cost = arrays[f"{name}.cost"]
        canary, control = (LetThrough.read(side) for side in told.get("through", ({}, {})))
        return cls(
            name, Tallies(_PAIRS[name], arrays[f"{name}.tallies"]), cost,
            arrays.get(f"{name}.high", cost.copy()), arrays[f"{name}.count"],
            Slots.read(told["slots"]), told["seen"], told["matured"],
            list(told["frauds"]), Evidence(*told["fast"]), Evidence(*told["slow"]),
            {guard: Judged.read(judged) for guard, judged in told["last"].items()},
            (canary, control),
        )  # fmt: skip
