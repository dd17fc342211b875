"""The guard of a rollout: fast guards without labels, a slow guard with matured ones.

Pure functions: samples and the evidence so far in, a judgement and the evidence up to now out. What
they promise, and what not, is told in docs/ROLLOUT.md; the mathematics is in ``evidence``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from stream_scorer.rollout.evidence.anytime_bounds import (
    Sample,
    differences,
    effective_pairs,
    least_effect,
    log_evidence,
    log_evidence_either,
    weight,
)

_MOST_LOG: Final = 690.0
"""Evidence is kept as a number that JSON has: at most e^690, which is 1e299 or so."""


class Verdict(StrEnum):
    """What a guard says; only PROMOTE and CONTINUE let a rollout go on."""

    PROMOTE = "PROMOTE"
    CONTINUE = "CONTINUE"
    ROLL_BACK = "ROLL_BACK"
    INCONCLUSIVE = "INCONCLUSIVE"
    """The deadline has passed without an answer: hold."""
    NO_DATA = "NO_DATA"
    """Too little to judge by: hold."""
    INVALID = "INVALID"
    """The arms are no fair halves of the traffic: hold, whatever else the numbers say."""


class Harm(StrEnum):
    """Which difference of the canary from its control is a harm."""

    MORE = "MORE"
    LESS = "LESS"
    EITHER = "EITHER"


@dataclass(frozen=True, slots=True)
class Guard:
    """One fast guard.

    Attributes:
        name: Of its sample.
        harm: Which difference counts.
        tolerance: By which share more (or less) the canary may have without harm; 0 or more.
    """

    name: str
    harm: Harm
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"guard {self.name}: tolerance {self.tolerance} is not 0 or more")

    def log_evidence(self, sample: Sample) -> float:
        """Return log E of harm at one look."""
        more = differences(sample.scaled(1 / (1 + self.tolerance)))
        less = differences(sample.swapped().scaled(1 / (1 + self.tolerance)))
        if self.harm is Harm.MORE:
            return log_evidence(more, sample.stage)
        if self.harm is Harm.LESS:
            return log_evidence(less, sample.stage)
        sides = (log_evidence(more, sample.stage), log_evidence(less, sample.stage))
        return max(sides) + math.log1p(math.exp(-abs(sides[0] - sides[1]))) - math.log(2)


GUARDS: Final = (
    Guard("errors", Harm.MORE),
    Guard("alerts", Harm.EITHER),
    Guard("approved_value", Harm.EITHER),
    Guard("slow_calls", Harm.MORE),
)
"""Per event errors, REVIEW or BLOCK, and amount approved; per timed call of an arm, one over the
plan's limit."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What verdicts are judged by.

    Attributes:
        alpha: Chance that a canary equal to its control is ever rolled back; the slow guard's
            chance of a false promotion, and of a false rollback.
        alpha_mismatch: Chance that fair arms are ever called INVALID.
        least_events: Events that each arm must have before its rollout may go on.
        least_pairs: Equal pairs among which differences of costs must spread before a promotion.
        least_frauds: Matured frauds that each arm must have before a promotion.
        delta: By how much per transaction the candidate may be worse, in units of the currency.
    """

    alpha: float = 0.01
    alpha_mismatch: float = 0.001
    least_events: int = 1_000
    least_pairs: int = 30
    least_frauds: int = 100
    delta: float = 0.05

    def __post_init__(self) -> None:
        for name in ("alpha", "alpha_mismatch"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}: must be between 0 and 1, not {getattr(self, name)}")
        for name in ("least_events", "least_pairs", "least_frauds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, or no data would pass")
        if not 0 < self.delta < math.inf:
            raise ValueError(f"delta: must be more than 0, not {self.delta}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the looks so far have shown: an e-process by name.

    Attributes:
        look: Number of the last look; 0 before the first.
        e: By guard, and ``mismatch``: the weighted sum of all looks' evidence.
    """

    look: int = 0
    e: Mapping[str, float] = field(default_factory=dict)

    def plus(self, look: int, logs: Mapping[str, float]) -> "Evidence":
        """Return the evidence with one more look; what is not named there stays.

        Raises:
            ValueError: The look lies before one that was taken.
        """
        if look < self.look:
            raise ValueError(f"look {look} is before look {self.look}, which was taken")
        if look == self.look:
            return self
        share = weight(look)
        found = {
            name: self.e.get(name, 0.0) + share * math.exp(min(log, _MOST_LOG))
            for name, log in logs.items()
        }
        return Evidence(look, {**self.e, **found})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why, and the numbers behind it.

    Attributes:
        verdict: What to do.
        reasons: One line each, most weighty first.
        numbers: By name; finite.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Return the judgement as JSON takes it."""
        return {
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "numbers": dict(self.numbers),
        }


def judge_fast(
    samples: Mapping[str, Sample],
    events: Sample,
    evidence: Evidence,
    look: int,
    limits: GuardLimits,
    guards: tuple[Guard, ...] = GUARDS,
) -> tuple[Judgement, Evidence]:
    """Judge by what needs no labels.

    Args:
        samples: By guard; a guard without one has no data.
        events: Its counts are each bucket's events; tells whether the arms are fair halves.
        evidence: As the last call returned it.
        look: From :func:`look_number`; the same as before takes no new evidence.
        limits: What to judge by.
        guards: Which; the error budget is shared among them.
    """
    logs = {
        guard.name: guard.log_evidence(samples[guard.name])
        for guard in guards
        if guard.name in samples
    }
    evidence = evidence.plus(look, {**logs, "mismatch": _log_mismatch(events)})
    bound = len(guards) / limits.alpha
    numbers = {"look": float(look), "bound": bound, **_told(evidence, events)}
    harms, missing = [], []
    for guard in guards:
        value = evidence.e.get(guard.name, 0.0)
        sample = samples.get(guard.name)
        canary, control = (math.nan, math.nan) if sample is None else sample.rates
        if math.isnan(canary) or math.isnan(control):
            missing.append(
                f"{guard.name}: no data in {'canary' if math.isnan(canary) else 'control'}"
            )
        else:
            numbers |= {f"{guard.name}_canary": canary, f"{guard.name}_control": control}
        if value >= bound:
            harms.append(f"{guard.name}: evidence {value:.3g} of harm reaches {bound:.0f}")
    missing += _too_few(events, limits)
    if look == 0:
        missing.append("no look was due yet")
    if mismatch := _mismatched(evidence, limits):
        return Judgement(Verdict.INVALID, (mismatch, *harms, *missing), numbers), evidence
    if harms:
        return Judgement(Verdict.ROLL_BACK, (*harms, *missing), numbers), evidence
    if missing:
        return Judgement(Verdict.NO_DATA, tuple(missing), numbers), evidence
    return Judgement(Verdict.CONTINUE, ("no guard has evidence of harm",), numbers), evidence


@dataclass(frozen=True, slots=True)
class Matured:
    """Costs of transactions whose labels are as old as the plan asks, and no older.

    Attributes:
        cost: Pairs of buckets: bounded cost of their decisions, and matured transactions.
        frauds: Frauds among the canary's transactions, and among the control's.
    """

    cost: Sample
    frauds: tuple[int, int]


def judge_slow(
    matured: Matured, evidence: Evidence, look: int, limits: GuardLimits, *, deadline_passed: bool
) -> tuple[Judgement, Evidence]:
    """Judge by what the decisions cost.

    The benefit is what the control costs per transaction less what the canary costs: above 0, the
    candidate is better. Each look's bounds miss it with chance alpha x weight(look) at most, each;
    so with chance alpha at any look.

    Args:
        matured: Pairs of canary and control; in shadow each bucket is a pair of its own, with what
            the candidate's decisions would have cost as the canary's, and the same counts.
        evidence: As the last call returned it.
        look: From :func:`look_number`, by matured transactions of the whole stream. The same as
            before judges nothing: what came since waits for the next look.
        limits: What to judge by.
        deadline_passed: Whoever promotes from now on does so by hand, unless this look still does.
    """
    cost = matured.cost
    due = look > evidence.look
    evidence = evidence.plus(look, {"mismatch": _log_mismatch(cost)})
    numbers = {
        "look": float(look),
        "delta": limits.delta,
        "frauds_canary": float(matured.frauds[0]),
        "frauds_control": float(matured.frauds[1]),
        **_told(evidence, cost),
    }
    verdict = Verdict.INCONCLUSIVE if deadline_passed else Verdict.CONTINUE
    nothing = Verdict.INCONCLUSIVE if deadline_passed else Verdict.NO_DATA
    reasons: tuple[str, ...] = ("no look is due",)
    if mismatch := _mismatched(evidence, limits):
        verdict, reasons = Verdict.INVALID, (mismatch,)
    elif too_few := _too_few(cost, limits):
        verdict, reasons = nothing, too_few
    elif look == 0:
        verdict = nothing
    elif not any(matured.frauds):
        # Without a fraud every alert looks like a mistake: more likely the labels do not come.
        verdict, reasons = nothing, ("no label has reported a fraud",)
    elif due:
        benefit = _benefit(cost, look, limits)
        numbers |= {name: value for name, value in benefit.items() if math.isfinite(value)}
        answer, why = _weigh(benefit, min(matured.frauds), limits)
        verdict = verdict if answer is None else answer
        told = "benefit {benefit:.4g} per transaction, from {benefit_low:.4g} to {benefit_high:.4g}"
        reasons = (why, told.format_map(benefit))
    return Judgement(verdict, reasons, numbers), evidence


def _benefit(cost: Sample, look: int, limits: GuardLimits) -> dict[str, float]:
    """Return the benefit per transaction and its bounds at a look, and how widely it is spread."""
    # What is decided on is delta, so it is for that hypothesis that the bounds are exact.
    undone = cost.shifted(-limits.delta)
    bound = math.log(1 / (limits.alpha * weight(look)))
    canary, control = cost.rates
    return {
        "cost_canary": canary,
        "cost_control": control,
        "benefit": control - canary,
        "benefit_low": least_effect(undone, bound) - limits.delta,
        "benefit_high": -limits.delta - least_effect(undone.swapped(), bound),
        "effective_pairs": effective_pairs(differences(undone)),
    }


def _weigh(
    benefit: Mapping[str, float], frauds: int, limits: GuardLimits
) -> tuple[Verdict | None, str]:
    """Return what bounds of the benefit say, None while they leave it open, and why."""
    if benefit["benefit_high"] < -limits.delta:
        return Verdict.ROLL_BACK, f"the candidate is worse by more than {limits.delta:g}"
    if benefit["benefit_low"] <= -limits.delta:
        return None, f"whether the candidate is worse by more than {limits.delta:g} is open"
    if benefit["effective_pairs"] < limits.least_pairs:
        spread = f"{benefit['effective_pairs']:.1f} pairs, fewer than {limits.least_pairs}"
        return None, f"the differences of costs are those of {spread}"
    if frauds < limits.least_frauds:
        return None, f"{frauds} matured frauds in an arm, fewer than {limits.least_frauds}"
    return Verdict.PROMOTE, f"the candidate is not worse by {limits.delta:g} or more"


def _log_mismatch(sample: Sample) -> float:
    """Return log E of "the arms' buckets do not hold equally many", at one look."""
    counts = sample.counts()
    return log_evidence_either(differences(counts), counts.stage)


def _mismatched(evidence: Evidence, limits: GuardLimits) -> str:
    """Return why the arms are no fair halves, or nothing; fast and slow guards both ask it."""
    value, bound = evidence.e.get("mismatch", 0.0), 2 / limits.alpha_mismatch
    if value < bound:
        return ""
    return f"sample ratio: evidence {value:.3g} of a mismatch reaches {bound:.0f}"


def _told(evidence: Evidence, sample: Sample) -> dict[str, float]:
    """Return the evidence so far, and how much each arm holds."""
    return {
        "pairs": float(len(sample)),
        "count_canary": float(sample.canary_count.sum()),
        "count_control": float(sample.control_count.sum()),
        **{f"e_{name}": value for name, value in evidence.e.items()},
    }


def _too_few(sample: Sample, limits: GuardLimits) -> tuple[str, ...]:
    """Return a reason for each arm that has fewer events than a verdict needs."""
    counts = {"canary": sample.canary_count.sum(), "control": sample.control_count.sum()}
    return tuple(
        f"{arm}: {count:.0f} events, fewer than {limits.least_events}"
        for arm, count in counts.items()
        if count < limits.least_events
    )
