"""The guards of a rollout: fast guards without labels, and a slow guard with matured labels.

Pure functions: they take samples and the evidence so far, and return a judgement and the new
evidence. docs/ROLLOUT.md states what they guarantee and what they do not; ``anytime_bounds`` has
the mathematics.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
"""Evidence is limited to e^690, about 1e299, so that it is a finite number in JSON."""


class Verdict(StrEnum):
    """A guard's verdict; a rollout advances only on PROMOTE and CONTINUE."""

    PROMOTE = "PROMOTE"
    CONTINUE = "CONTINUE"
    ROLL_BACK = "ROLL_BACK"
    INCONCLUSIVE = "INCONCLUSIVE"
    """The deadline has passed without an answer: hold."""
    NO_DATA = "NO_DATA"
    """Too little to judge by: hold."""
    INVALID = "INVALID"
    """The arms are not fair halves of the traffic: hold, whatever the other numbers are."""


class Harm(StrEnum):
    """Which difference of the canary from its control is harm."""

    MORE = "MORE"
    LESS = "LESS"
    EITHER = "EITHER"


@dataclass(frozen=True, slots=True)
class Guard:
    """One fast guard.

    Attributes:
        name: Of its sample.
        harm: Which difference is harm.
        tolerance: Share by which the canary may have more (or less) without harm; 0 or more.
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
"""Per event: errors, REVIEW or BLOCK, and the approved amount. Per timed call: slow calls."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The limits of the verdicts.

    Attributes:
        alpha: Probability that a canary equal to its control is ever rolled back; the slow guard's
            probability of a false promotion, and of a false rollback.
        alpha_mismatch: Probability that fair arms are ever judged INVALID.
        least_events: Minimum number of events of each arm before the rollout may advance.
        least_pairs: Minimum of ``effective_pairs`` of the differences in costs before a promotion.
        least_frauds: Minimum number of matured frauds of each arm before a promotion.
        least_let_through: Minimum number of matured transactions of both arms that were let
            through, before a promotion under a plan that explores.
        least_genuine: Minimum number of genuine ones among these.
        delta: Amount per transaction by which the candidate may be worse, in units of the currency.
    """

    alpha: float = 0.01
    alpha_mismatch: float = 0.001
    least_events: int = 1_000
    least_pairs: int = 30
    least_frauds: int = 100
    delta: float = 0.05
    least_let_through: int = 300
    least_genuine: int = 50

    def __post_init__(self) -> None:
        for name in ("alpha", "alpha_mismatch"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}: must be between 0 and 1, not {getattr(self, name)}")
        for name in (
            "least_events", "least_pairs", "least_frauds", "least_let_through", "least_genuine",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, or no data would pass")
        if not 0 < self.delta < math.inf:
            raise ValueError(f"delta: must be more than 0, not {self.delta}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of all looks so far: an e-process by name.

    Attributes:
        look: Number of the last look; 0 before the first.
        e: By guard, and ``mismatch``: the weighted sum of all looks' evidence.
    """

    look: int = 0
    e: Mapping[str, float] = field(default_factory=dict)

    def plus(self, look: int, logs: Mapping[str, float]) -> "Evidence":
        """Return the evidence with one more look; guards that ``logs`` does not name keep theirs.

        Raises:
            ValueError: The look is before one that was taken.
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
    """A verdict, its reasons and its numbers.

    Attributes:
        verdict: What to do.
        reasons: One line each, the most important first.
        numbers: By name; finite.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Return the judgement as plain data for JSON."""
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
    """Judge without labels.

    Args:
        samples: By guard; a guard without one has no data.
        events: Its counts are each bucket's events, which show whether the arms are fair halves.
        evidence: As the last call returned it.
        look: From :func:`look_number`; the same as before adds no evidence.
        limits: The limits of the verdict.
        guards: The guards, which share the error probability.
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
    """Costs of matured transactions; only labels that were known at their maturity count.

    Attributes:
        cost: By pair of buckets: the sums are bounded costs of decisions, the counts matured
            transactions. Where costs are not known, the lowest that is possible.
        frauds: Frauds among the canary's transactions, and among the control's.
        high: The same with the highest costs that are possible; None: all costs are known.
        numbers: Further numbers of the judgement.
        let_through: Transactions of both arms that were let through, and the genuine ones among
            them; None: the plan does not explore.
        estimator: Name of the estimate of costs that are not all known; empty: they are.
    """

    cost: Sample
    frauds: tuple[int, int]
    high: Sample | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    let_through: tuple[int, int] | None = None
    estimator: str = ""

    @property
    def bounded(self) -> "_Bounded":
        """The samples between which the true one is."""
        low, high = self.cost, self.cost if self.high is None else self.high
        return _Bounded(
            replace(low, canary=high.canary),
            replace(low, control=high.control),
            replace(
                low,
                canary=(low.canary + high.canary) / 2,
                control=(low.control + high.control) / 2,
            ),
            known=bool((low.canary == high.canary).all() and (low.control == high.control).all()),
        )


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A sample of which only bounds are known (Manski, 1990).

    Attributes:
        worst: The worst for the canary: its highest costs, and the control's lowest.
        best: The best for the canary.
        middle: The mean of both ends for each arm.
        known: Whether all three are equal.
    """

    worst: Sample
    best: Sample
    middle: Sample
    known: bool


_NO_LABELS: Final = "blocked transactions have no labels; switch explore on"
"""Reason of a verdict that the bounds of the costs leave open."""


def judge_slow(
    matured: Matured, evidence: Evidence, look: int, limits: GuardLimits, *, deadline_passed: bool
) -> tuple[Judgement, Evidence]:
    """Judge by the costs of the decisions.

    The benefit is the control's cost per transaction minus the canary's: above 0, the candidate is
    better. At each look, each of the two bounds is wrong with a probability of at most alpha x
    weight(look); so over all looks, of at most alpha. Where costs are only bounded, the lower bound
    holds for the worst case for the candidate, and the upper one for the best.

    Args:
        matured: Pairs of canary and control; in shadow, each bucket is a pair, with the candidate's
            costs as the canary's, and equal counts.
        evidence: As the last call returned it.
        look: From :func:`look_number`, by matured transactions. The same as before judges no
            benefit: later data waits for the next look.
        limits: The limits of the verdict.
        deadline_passed: Whether the deadline has passed: the verdict is INCONCLUSIVE where it would
            be CONTINUE or NO_DATA.
    """
    cost = matured.cost
    due = look > evidence.look
    evidence = evidence.plus(look, {"mismatch": _log_mismatch(cost)})
    numbers = {
        "look": float(look),
        "delta": limits.delta,
        "frauds_canary": float(matured.frauds[0]),
        "frauds_control": float(matured.frauds[1]),
        **matured.numbers,
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
        # Without any fraud, every alert looks like a mistake. More likely, no labels arrive.
        verdict, reasons = nothing, ("no label has reported a fraud",)
    elif due:
        bounded = matured.bounded
        benefit = _benefit(bounded, look, limits)
        numbers |= {name: value for name, value in benefit.items() if math.isfinite(value)}
        answer, why = _weigh(benefit, matured, limits)
        if answer is None and not bounded.known:
            answer, why = nothing, f"{_NO_LABELS} ({why})"
        verdict = verdict if answer is None else answer
        told = "benefit {benefit:.4g} per transaction, from {benefit_low:.4g} to {benefit_high:.4g}"
        reasons = (why, told.format_map(benefit))
        if matured.estimator:
            reasons += (f"estimator: {matured.estimator}",)
    return Judgement(verdict, reasons, numbers), evidence


def _benefit(cost: _Bounded, look: int, limits: GuardLimits) -> dict[str, float]:
    """Return the benefit per transaction, its bounds at a look, and the ``effective_pairs``."""
    # The decision is about delta, so the bounds are exact for that hypothesis.
    worst, best, undone = (
        each.shifted(-limits.delta) for each in (cost.worst, cost.best, cost.middle)
    )
    bound = math.log(1 / (limits.alpha * weight(look)))
    canary, control = cost.middle.rates
    return {
        "cost_canary": canary,
        "cost_control": control,
        "benefit": control - canary,
        "benefit_low": least_effect(worst, bound, undone) - limits.delta,
        "benefit_high": -limits.delta - least_effect(best.swapped(), bound, undone.swapped()),
        "effective_pairs": effective_pairs(differences(undone)),
    }


def _weigh(
    benefit: Mapping[str, float], matured: Matured, limits: GuardLimits
) -> tuple[Verdict | None, str]:
    """Return the verdict by the bounds of the benefit, None if it is open, and the reason."""
    if benefit["benefit_high"] < -limits.delta:
        return Verdict.ROLL_BACK, f"the candidate is worse by more than {limits.delta:g}"
    if benefit["benefit_low"] <= -limits.delta:
        return None, f"whether the candidate is worse by more than {limits.delta:g} is open"
    if benefit["effective_pairs"] < limits.least_pairs:
        spread = f"{benefit['effective_pairs']:.1f} pairs, fewer than {limits.least_pairs}"
        return None, f"the differences of costs are those of {spread}"
    if (frauds := min(matured.frauds)) < limits.least_frauds:
        return None, f"{frauds} matured frauds in an arm, fewer than {limits.least_frauds}"
    for found, least, what in zip(
        matured.let_through or (math.inf, math.inf),
        (limits.least_let_through, limits.least_genuine),
        ("matured transactions were let through", "of them are genuine"),
        strict=True,
    ):
        if found < least:
            return None, f"{found} {what}, fewer than {least}"
    return Verdict.PROMOTE, f"the candidate is not worse by {limits.delta:g} or more"


def _log_mismatch(sample: Sample) -> float:
    """Return log E of "the arms' buckets do not have equally many events", at one look."""
    counts = sample.counts()
    return log_evidence_either(differences(counts), counts.stage)


def _mismatched(evidence: Evidence, limits: GuardLimits) -> str:
    """Return why the arms are not fair halves; empty if they are. For fast and slow guards."""
    value, bound = evidence.e.get("mismatch", 0.0), 2 / limits.alpha_mismatch
    if value < bound:
        return ""
    return f"sample ratio: evidence {value:.3g} of a mismatch reaches {bound:.0f}"


def _told(evidence: Evidence, sample: Sample) -> dict[str, float]:
    """Return the evidence so far, and the number of events of each arm."""
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
