"""Decide a batch under a routing: each arm decides its rows, and shadows score all of them.

A batch is folded into the rings once, whatever the arms do. If an arm of another version than the
champion's fails for a row, the champion decides that row in the same batch, and the decision is
flagged ``fallback``.

Some rows may come with a decision that was made elsewhere. It is published as it is, under the arm
``edge``; the champion scores these rows, too, as the shadow ``central``. No other shadow does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import (
    Answers,
    Model,
    ObservedRows,
    decide_rows,
    model_scores,
    refuse_failure,
)
from stream_scorer.core.decision.given_rows import given_decisions
from stream_scorer.core.decision.observe import ObservedBatch, PartitionRings, observe
from stream_scorer.core.decision.policy import decide, policy_for
from stream_scorer.core.decision.routing import CHAMPION, Routing, Version, route
from stream_scorer.core.events.batch import DecisionBatch, EventBatch, Flag, Rejections
from stream_scorer.core.events.given import GivenDecisions
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import Draws
from stream_scorer.core.rings.rings import Journal
from stream_scorer.core.summaries.summary_layout import ReferenceBins
from stream_scorer.core.terminals.history import TerminalTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

CENTRAL_ARM = "central"
"""Shadow that scores these transactions: what would have been decided here."""
_INSTEAD = "score:fallback"
_GIVEN = "given"


@dataclass(frozen=True, slots=True)
class ModelErrors:
    """A version failed for ``rows`` rows; ``error`` is the text of the first failure."""

    version: Version
    rows: int
    error: str


@dataclass(frozen=True, slots=True)
class ArmDecisions:
    """The decisions of one model for an arm.

    Attributes:
        decisions: k decisions.
        rows: int64[k], their row numbers in the batch, ascending.
        stage: Name of the stage in which the model scored.
        failure: Errors of the arm's model for these rows, also if the champion decided in its place
            (decisions that are flagged ``fallback``); None if there are none.
        bins: What the reference of the deciding model watches; None if it has no reference.
    """

    decisions: DecisionBatch
    rows: Int64
    stage: str
    failure: ModelErrors | None = None
    bins: ReferenceBins | None = None


@dataclass(frozen=True, slots=True)
class ShadowScores:
    """What a shadow would have decided for a of a batch's accepted rows.

    Attributes:
        arm: The shadow's name.
        model: Name of its model.
        version: Version of its model.
        plan_revision: The revision that was active.
        events: a transactions.
        score: float64[a]; NaN where it failed.
        outcome: uint8[a], by the plan's policy or the model's thresholds; ``on_model_error`` where
            it failed.
        failed: bool[a].
        decided_score: float64[a], score of the published decision.
        decided_outcome: uint8[a], outcome of the published decision.
        decided_policy: uint8[a], its outcome before the draw of let-through.
        decided_chance: float64[a], probability of its outcome, given that of its policy.
        failure: Its errors; None if there are none.
        rows: int64[a], their row numbers in the batch, ascending; None: all accepted rows.
    """

    arm: str
    model: str
    version: str
    plan_revision: int
    events: EventBatch
    score: Float64
    outcome: NDArray[np.uint8]
    failed: NDArray[np.bool_]
    decided_score: Float64
    decided_outcome: NDArray[np.uint8]
    decided_policy: NDArray[np.uint8]
    decided_chance: Float64
    failure: ModelErrors | None = None
    rows: Int64 | None = None


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """The decisions of all arms for one batch.

    Attributes:
        accepted: int64[a], the accepted rows of the batch, ascending.
        decided: By model and arm, at least one; each accepted row is in exactly one of them.
        shadowed: One for each shadow, and ``central`` if decisions came with rows.
        rejections: The rows that are not accepted.
        journals: The changes to the rings, by partition.
    """

    accepted: Int64
    decided: tuple[ArmDecisions, ...]
    shadowed: tuple[ShadowScores, ...]
    rejections: Rejections
    journals: dict[int, Journal]


def decide_batch(
    events: EventBatch, rings: PartitionRings, routing: Routing, models: Mapping[Version, Model],
    lap: Callable[[str], None] = lambda _: None, terminals: TerminalTable | None = None,
    draws: Draws | None = None, given: GivenDecisions | None = None,
) -> DecidedBatch:  # fmt: skip
    """Decide a batch.

    With several arms or shadows, each model scores in a separate stage: ``score:ARM`` for the rows
    of the arm's buckets, ``score:ARM:override`` for rows that an override sent there. The batch's
    first offset determines which arm scores first: the order alternates, so that no arm always
    benefits from a warm cache.

    Args:
        events: n rows in arrival order.
        rings: Changed as ``journals`` describes.
        routing: Which arm decides which rows, and what all arms share.
        models: The model of each version in the routing; all share an engine with the rings.
        lap: Called with the name of each finished stage.
        terminals: The known rows of terminals. Without it, a model that uses them decides as for
            unknown terminals, and its decisions are flagged ``degraded``.
        draws: The keys of the draws that the plan asks for; None: nothing is drawn. The draws are
            those of all arms alike, and shadows are not drawn.
        given: The decisions that came with some rows; they are not drawn, and their flag ``late``
            is that of the rings here.

    Raises:
        ModelFailure: The champion failed for too many rows; the rings are unchanged.
    """
    terminals = TerminalTable() if terminals is None else terminals
    by_arm = {arm: models[version] for arm, version in routing.versions.items()}
    asked = [by_arm[arm] for arm in (*routing.arms, *routing.shadows)]
    # Rows are flagged as degraded for the first of these models that uses terminals.
    terminal_model = next((m for m in asked if m.features.by_terminal), by_arm[CHAMPION])
    seen = observe(events, rings, routing.shared, terminal_model.features, lap, terminals)
    try:
        rows = seen.rows()
        told = None if given is None else given.at(seen.accepted)
        parts = list(_parts(routing, rows, seen))
        if told:
            parts = _without(parts, told.row)
        if len(events) and int(events.offset[0]) % 2:
            parts.reverse()
        several = len(parts) > 1 or bool(routing.shadows)
        decided: list[ArmDecisions] = []
        for part in parts:
            stage = part.stage if several else "score"
            decided += _decide(part, rows, routing, by_arm, terminals, lap, stage, draws)
        if told:
            made = given_decisions(told, rows, routing.revision)
            decided += [ArmDecisions(each, place, _GIVEN) for each, place in made]
        shadowed = _shadowed(routing, rows, by_arm, decided, told, lap)
    except BaseException:
        rings.undo(seen.journals)
        raise
    return DecidedBatch(
        seen.accepted,
        tuple(replace(d, rows=seen.accepted[d.rows]) for d in decided),
        tuple(s if s.rows is None else replace(s, rows=seen.accepted[s.rows]) for s in shadowed),
        seen.rejections,
        seen.journals,
    )


def decide_alone(
    events: EventBatch, rings: PartitionRings, model: Model, plan: Plan,
    lap: Callable[[str], None] = lambda _: None, terminals: TerminalTable | None = None,
) -> DecidedBatch:  # fmt: skip
    """Decide a batch with one model: :func:`decide_batch` under a routing without a rollout.

    Args:
        events: n rows in arrival order.
        rings: Changed as ``journals`` describes.
        model: The model that decides.
        plan: Currencies, limits, lateness.
        lap: Called with the name of each finished stage.
        terminals: The known rows of terminals; see :func:`decide_batch`.

    Raises:
        ModelFailure: The model failed for too many rows; the rings are unchanged.
    """
    version = Version(model.name, model.version)
    routing = Routing.alone(version, plan)
    return decide_batch(events, rings, routing, {version: model}, lap, terminals)


@dataclass(frozen=True, slots=True)
class _ArmRows:
    """Rows that an arm decides, either by their buckets or by an override."""

    arm: str
    rows: Int64
    propensity: float
    overridden: bool = False

    @property
    def stage(self) -> str:
        """Name of the stage in which the model scores; rows of overrides have a separate one."""
        return f"score:{self.arm}:override" if self.overridden else f"score:{self.arm}"


def _parts(routing: Routing, rows: ObservedRows, seen: ObservedBatch) -> Sequence[_ArmRows]:
    arms = routing.arms
    if len(arms) == 1:
        return [_ArmRows(arms[0], np.arange(len(rows)), 1.0)]
    routed = route(routing, rows.events, seen.events.hashes("customer_id")[seen.accepted])
    found = []
    for index, arm in enumerate(arms):
        for overridden in (False, True):
            mine = np.flatnonzero((routed.arm == index) & (routed.overridden == overridden))
            if len(mine):
                share = 1.0 if overridden else routing.share(arm)
                found.append(_ArmRows(arm, mine, share, overridden))
    return found or [_ArmRows(CHAMPION, np.empty(0, np.int64), routing.share(CHAMPION))]


def _decide(
    part: _ArmRows, rows: ObservedRows, routing: Routing, by_arm: Mapping[str, Model],
    terminals: TerminalTable, lap: Callable[[str], None], stage: str, draws: Draws | None,
) -> list[ArmDecisions]:  # fmt: skip
    """Return an arm's decisions, and the champion's for rows for which the arm's model failed."""
    mine = rows if len(part.rows) == len(rows) else rows.take(part.rows)
    model, champion = by_arm[part.arm], by_arm[CHAMPION]
    decisions, found = _by(mine, part, routing, model, terminals, lap, stage, draws)
    if model is champion:
        refuse_failure(found.failed, decisions.features, found.failure, routing.shared)
        failure = _failure(model, found.failed, found.failure)
        return [ArmDecisions(decisions, part.rows, stage, failure, model.bins)]
    if not found.failed.any():
        return [ArmDecisions(decisions, part.rows, stage, bins=model.bins)]
    good, bad = np.flatnonzero(~found.failed), np.flatnonzero(found.failed)
    kept = []
    if len(good):
        kept = [ArmDecisions(decisions.take(good), part.rows[good], stage, bins=model.bins)]
    lost = mine.take(bad)
    lost = replace(lost, flags=lost.flags | np.uint8(Flag.FALLBACK))
    instead, again = _by(lost, part, routing, champion, terminals, lap, _INSTEAD, draws)
    refuse_failure(again.failed, instead.features, again.failure, routing.shared)
    failure = _failure(model, found.failed, found.failure)
    return [*kept, ArmDecisions(instead, part.rows[bad], _INSTEAD, failure, champion.bins)]


def _failure(model: Model, failed: NDArray[np.bool_], error: str) -> ModelErrors | None:
    rows = int(failed.sum())
    return ModelErrors(Version(model.name, model.version), rows, error) if rows else None


def _by(
    rows: ObservedRows, part: _ArmRows, routing: Routing, model: Model, terminals: TerminalTable,
    lap: Callable[[str], None], stage: str, draws: Draws | None,
) -> tuple[DecisionBatch, Answers]:  # fmt: skip
    if not model.features.by_terminal:
        rows = replace(rows, flags=rows.flags & ~np.uint8(Flag.DEGRADED))
    decisions, made = decide_rows(rows, model, routing.shared, terminals, lap, stage, draws)
    told = replace(
        decisions, arm=part.arm, propensity=part.propensity, plan_revision=routing.revision
    )
    return told, made


def _without(parts: Sequence[_ArmRows], given: Int64) -> list[_ArmRows]:
    """Return the parts without the rows that came with a decision, and without empty parts."""
    left = (replace(part, rows=np.setdiff1d(part.rows, given)) for part in parts)
    return [part for part in left if len(part.rows)]


def _shadowed(
    routing: Routing, rows: ObservedRows, by_arm: Mapping[str, Model],
    decided: Sequence[ArmDecisions], given: GivenDecisions | None, lap: Callable[[str], None],
) -> tuple[ShadowScores, ...]:  # fmt: skip
    """Return the shadows' scores: of all rows, or of those without and with a given decision."""
    if not given:
        return tuple(
            _shadow(arm, rows, routing, by_arm[arm], decided, lap) for arm in routing.shadows
        )
    others = np.setdiff1d(np.arange(len(rows)), given.row)
    asked = [(arm, by_arm[arm], others) for arm in routing.shadows if len(others)]
    asked.append((CENTRAL_ARM, by_arm[CHAMPION], given.row))
    return tuple(
        _shadow(arm, rows, routing, model, decided, lap, mine) for arm, model, mine in asked
    )


def _shadow(
    arm: str, rows: ObservedRows, routing: Routing, model: Model, decided: Sequence[ArmDecisions],
    lap: Callable[[str], None], mine: Int64 | None = None,
) -> ShadowScores:  # fmt: skip
    """Return a shadow's scores of some of the accepted rows; ``mine`` None: of all."""
    decided_score = np.empty(len(rows), np.float64)
    decided_outcome, decided_policy = np.empty((2, len(rows)), np.uint8)
    decided_chance = np.empty(len(rows), np.float64)
    for part in decided:
        decided_score[part.rows] = part.decisions.score
        decided_outcome[part.rows] = part.decisions.outcome
        decided_policy[part.rows] = part.decisions.by_policy
        decided_chance[part.rows] = part.decisions.chance
    if mine is not None:
        rows = rows.take(mine)
        decided_score, decided_outcome = decided_score[mine], decided_outcome[mine]
        decided_policy, decided_chance = decided_policy[mine], decided_chance[mine]
    features = model.features.compute(rows.events, rows.observed)
    lap("features")
    scores, failed, failure = model_scores(model.predictor, features)
    lap(f"score:{arm}")
    policy = policy_for(rows.events, routing.shared, model.thresholds, model.on_model_error)
    outcome = decide(scores, policy.thresholds)
    outcome[failed] = policy.on_model_error
    return ShadowScores(
        arm, model.name, model.version, routing.revision, rows.events, scores, outcome, failed,
        decided_score, decided_outcome, decided_policy, decided_chance,
        _failure(model, failed, failure), mine,
    )  # fmt: skip
