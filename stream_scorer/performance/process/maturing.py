"""From a day's decisions and the statements about them: matured decisions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import LabelPolicy, Resolved, Statements
from stream_scorer.core.labelling.resolve import resolve
from stream_scorer.performance.measures.contract import (
    Bool,
    Float64,
    Int64,
    MaturedRows,
    UInt8,
)
from stream_scorer.performance.store.rows import SourcedStatements, WaitingDecisions

BUCKETS: Final = 10_000
Policies = Callable[[int], LabelPolicy]
"""Returns the policy for the unlabelled of a plan revision."""


def mature(
    rows: WaitingDecisions, told: SourcedStatements, policies: Policies, age_ms: int, *,
    by_time: bool, factor: int,
) -> MaturedRows:  # fmt: skip
    """Return decisions with what they turned out to be at an age.

    A decision that was let through counts 1 / p times, and one that could have been, but was
    blocked, does not count: the former represent it (Horvitz and Thompson, 1952). A decision that
    was blocked and could not have been let through is unknown without a label.

    Args:
        rows: n decisions.
        told: Statements whose records had arrived.
        policies: Of the decisions' plan revisions.
        age_ms: Labels that are known at this age of a decision count.
        by_time: Whether labels name event times.
        factor: n if one of n customers is counted.
    """
    blocked = (rows.outcome == Outcome.BLOCK) & ~rows.through
    state, drawn = _resolve(rows, told, policies, age_ms, blocked=blocked, by_time=by_time)
    del drawn
    weight = np.where(rows.through, 1.0 / rows.propensity, 1.0)
    weight[blocked & (rows.propensity < 1.0)] = 0.0
    return _matured(rows, state, weight * factor, _drawn(rows), _chance(rows))


def review(
    rows: WaitingDecisions, told: SourcedStatements, policies: Policies, age_ms: int, *,
    by_time: bool, trusted: bool,
) -> MaturedRows:  # fmt: skip
    """Return decisions with what reviews of the drawn ones had found at an age.

    Args:
        rows: n decisions.
        told: Statements whose records had arrived.
        policies: Of the decisions' plan revisions.
        age_ms: Labels that are known at this age of a decision count.
        by_time: Whether labels name event times.
        trusted: Whether a draw that only the label declares counts.
    """
    blocked = (rows.outcome == Outcome.BLOCK) & ~rows.through
    state, declared = _resolve(
        rows, told, policies, age_ms, blocked=blocked, by_time=by_time, early=True
    )
    drawn, pi = _drawn(rows), _chance(rows)
    if trusted:
        said = np.isfinite(declared) & (declared > 0) & (rows.outcome != Outcome.BLOCK) & (pi <= 0)
        drawn, pi = drawn | said, np.where(said, declared, pi)
    return _matured(rows, state, np.ones(len(rows)), drawn, pi)


def _drawn(rows: WaitingDecisions) -> Bool:
    """Return bool[n], decisions that the draw of :func:`_chance` chose.

    A draw for review says nothing about a block: with a label it would count as let through, with
    another probability than its own.
    """
    return rows.through | (rows.drawn & (rows.outcome != Outcome.BLOCK))


def _chance(rows: WaitingDecisions) -> Float64:
    """Return float64[n], the probability of the draw that could show what a decision was."""
    block = rows.outcome == Outcome.BLOCK
    through = np.where(rows.through, rows.propensity, 1.0 - rows.propensity)
    pi: Float64 = np.where(block, through, rows.pi)
    return pi


def _resolve(
    rows: WaitingDecisions, told: SourcedStatements, policies: Policies, age_ms: int, *,
    blocked: "np.ndarray[tuple[int], np.dtype[np.bool_]]", by_time: bool, early: bool = False,
) -> tuple[UInt8, Float64]:  # fmt: skip
    """Return uint8[n], states; and float64[n], probabilities of draws that labels declare."""
    told = told.take(np.isin(told.key, rows.key))
    state, drawn = np.empty(len(rows), np.uint8), np.full(len(rows), np.nan)
    age: Int64 = np.full(len(rows), age_ms, np.int64)
    for revision in np.unique(rows.revision).tolist():
        policy = policies(revision)
        mine = np.flatnonzero(rows.revision == revision)
        found = _found(rows.take(mine), told, policy, age_ms, by_time=by_time)
        if early:
            # What nobody has looked at is not known yet, whatever it counts as later.
            policy = replace(policy, on=True, unlabelled="ignore")
        state[mine] = policy.settle(found.state, blocked[mine], age[mine], risk=False)
        drawn[mine] = found.drawn
    return state, drawn


def _found(
    rows: WaitingDecisions, told: SourcedStatements, policy: LabelPolicy, age_ms: int, *,
    by_time: bool,
) -> Resolved:  # fmt: skip
    statements = Statements(
        told.key, told.event_time, told.label_time, told.state, policy.rank(told.source.tolist()),
        told.label_id, told.retracts, told.drawn, told.partition, told.offset,
    )  # fmt: skip
    event_time = None if by_time else rows.event_time
    return resolve(statements, rows.key, rows.event_time + age_ms, event_time=event_time)


def _matured(
    rows: WaitingDecisions, state: UInt8, weight: Float64,
    drawn: "np.ndarray[tuple[int], np.dtype[np.bool_]]", pi: Float64,
) -> MaturedRows:  # fmt: skip
    bucket = (rows.card % np.uint64(BUCKETS)).astype(np.int32)
    return MaturedRows(
        rows.version, rows.arm, rows.segments, rows.score, rows.amount, weight, rows.outcome, state,
        rows.card, bucket, drawn, pi, rows.event_time,
    )  # fmt: skip
