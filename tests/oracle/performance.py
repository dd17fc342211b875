"""The measures of matured decisions, computed independently: by scikit-learn and plain loops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_curve,
)

APPROVE, REVIEW, BLOCK = 0, 1, 2
_DAY_MS = 86_400_000
_MOST, _REVIEW_COST, _FALSE_BLOCK = 200.0, 5.0, 25.0


@dataclass(frozen=True)
class JoinedRow:
    """A decision with what it turned out to be; ``fraud`` is None where that is unknown."""

    score: float
    amount: float
    weight: float
    outcome: int
    fraud: bool | None
    card: int
    event_time: int


def measures(joined: Sequence[JoinedRow], k: int) -> dict[str, float]:
    """Return the measures of a window by name; NaN where one is not defined."""
    rows = [row for row in joined if row.fraud is not None and row.weight > 0]
    scored = [row for row in rows if math.isfinite(row.score)]
    fraud, score = [row.fraud for row in scored], [row.score for row in scored]
    weight = [row.weight for row in scored]
    two = len(set(fraud)) == 2
    false, true, _ = (
        roc_curve(fraud, score, sample_weight=weight, drop_intermediate=False)
        if two
        else (np.ones(1), np.ones(1), None)
    )
    missed = sum(row.weight * min(row.amount, _MOST) for row in rows if row.fraud)
    saved = sum(row.weight * (_missed(row) - _cost(row)) for row in rows)
    value = sum(row.weight * row.amount for row in rows if row.fraud)
    alerted = sum(row.weight * row.amount for row in rows if row.fraud and row.outcome != APPROVE)
    return {
        "average_precision": (
            average_precision_score(fraud, score, sample_weight=weight) if any(fraud) else math.nan
        ),
        "recall_at_1_percent_fpr": float(true[false <= 0.01].max()) if two else math.nan,
        "card_precision": _cards(scored, k),
        "value_recall": alerted / value if value > 0 else math.nan,
        "block_precision": _precision(rows, BLOCK),
        "review_precision": _precision(rows, REVIEW),
        "cost_saved": saved,
        "cost_saved_share": saved / missed if missed > 0 else math.nan,
        "brier": (
            brier_score_loss(fraud, score, sample_weight=weight, pos_label=1) if rows else math.nan
        )
        if scored
        else math.nan,
        "calibration_error": _calibration(scored),
    }


def _missed(row: JoinedRow) -> float:
    return min(row.amount, _MOST) if row.fraud else 0.0


def _cost(row: JoinedRow) -> float:
    if row.outcome == APPROVE:
        return _missed(row)
    if row.outcome == REVIEW:
        return _REVIEW_COST
    return 0.0 if row.fraud else _FALSE_BLOCK


def _precision(rows: Sequence[JoinedRow], outcome: int) -> float:
    predicted = [row.outcome == outcome for row in rows]
    if not any(predicted):
        return math.nan
    truth, weight = [bool(row.fraud) for row in rows], [row.weight for row in rows]
    return float(precision_score(truth, predicted, sample_weight=weight, zero_division=0.0))


def recall_at(rows: Sequence[JoinedRow]) -> float:
    """Return the share of frauds, by weight, that were not approved."""
    truth, weight = [bool(row.fraud) for row in rows], [row.weight for row in rows]
    found = [row.outcome != APPROVE for row in rows]
    return float(recall_score(truth, found, sample_weight=weight, zero_division=0.0))


def _calibration(rows: Sequence[JoinedRow]) -> float:
    gaps, total = 0.0, sum(row.weight for row in rows)
    for band in range(10):
        mine = [row for row in rows if min(int(row.score * 10), 9) == band]
        held = sum(row.weight for row in mine)
        if held:
            mean = sum(row.weight * row.score for row in mine) / held
            share = sum(row.weight for row in mine if row.fraud) / held
            gaps += held * abs(mean - share)
    return gaps / total if total else math.nan


def _cards(rows: Sequence[JoinedRow], k: int) -> float:
    found: set[int] = set()
    shares = []
    for day in sorted({row.event_time // _DAY_MS for row in rows}):
        today = [row for row in rows if row.event_time // _DAY_MS == day]
        defrauded = {row.card for row in today if row.fraud}
        places, hits = float(k), 0.0
        met: set[int] = set()
        now: set[int] = set()
        for row in sorted(today, key=lambda each: (-each.score, each.card)):
            if row.card in met or row.card in found:
                continue
            met.add(row.card)
            taken = min(row.weight, places)
            places -= taken
            if taken > 0 and row.card in defrauded:
                hits += taken
                now.add(row.card)
        found |= now
        shares.append(hits / k)
    return float(np.mean(shares)) if shares else math.nan
