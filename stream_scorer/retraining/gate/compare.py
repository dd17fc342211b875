"""Champion and challenger on the same later days: paired differences with their intervals."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score

from stream_scorer.performance.warning.contract import LossReference
from stream_scorer.retraining.gate.contract import Gated, Interval
from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.security.canonical_json import canonical

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

_GROUPS: Final = 20
"""Groups of customers of the jackknife: one customer's rows are not independent."""
_CONFIDENCE: Final = 0.95
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class TestRows:
    """n rows of the test days, scored by both.

    Attributes:
        fraud: bool[n].
        amount: float64[n], in units of the currency.
        weight: float64[n], the inverse of the probability with which the row is there.
        customer: int64[n], a number of each customer.
        day: int64[n], days since the epoch.
        champion: float64[n], scores.
        challenger: float64[n], scores.
    """

    __test__ = False

    fraud: Bool
    amount: Float64
    weight: Float64
    customer: Int64
    day: Int64
    champion: Float64
    challenger: Float64


@dataclass(frozen=True, slots=True)
class OutcomeThresholds:
    """The scores from which a version reviews and blocks."""

    review: float
    block: float


def judge(
    rows: TestRows,
    champion: OutcomeThresholds,
    challenger: OutcomeThresholds,
    costs: BoundedCosts,
    tolerance: float,
) -> Gated:
    """Compare two versions.

    The challenger passes if it is cheaper with confidence; or if it is not dearer than tolerated,
    and orders transactions better, each with confidence.

    Args:
        rows: The test rows.
        champion: Its thresholds.
        challenger: Its thresholds.
        costs: Costs of decisions.
        tolerance: The rise of the cost per decision that does not matter.
    """
    old = _costs(rows, rows.champion, champion, costs)
    new = _costs(rows, rows.challenger, challenger, costs)
    group = _groups(rows.customer)
    kept = [group != each for each in range(_GROUPS)]
    cost = _jackknife(
        _mean(new - old, rows.weight), [_mean((new - old)[at], rows.weight[at]) for at in kept]
    )
    everything = np.ones(len(group), np.bool_)
    ap = _jackknife(_precision(rows, everything), [_precision(rows, at) for at in kept])
    passed = cost[2] < 0 or (cost[2] <= tolerance and ap[0] > 0)
    days = _reference(rows, new, costs.most)
    return Gated(passed, len(rows.fraud), int(rows.fraud.sum()), ap, cost, days)


def gate_bytes(
    gated: Gated, parent: str, label: str, dataset_sha256: str, tolerance: float
) -> bytes:
    """Return ``gate.json``: canonical JSON.

    Args:
        gated: The comparison.
        parent: NAME:VERSION of the champion.
        label: NAME:VERSION of the challenger.
        dataset_sha256: Of the dataset whose last days were compared.
        tolerance: As for :func:`judge`.
    """
    document: dict[str, Any] = {
        "format": 1, "parent": parent, "bundle": label, "dataset_sha256": dataset_sha256,
        "tolerance": tolerance if math.isfinite(tolerance) else None,
        "confidence": _CONFIDENCE, "groups": _GROUPS, **asdict(gated),
    }  # fmt: skip
    return canonical(document) + b"\n"


def _costs(rows: TestRows, score: Float64, at: OutcomeThresholds, costs: BoundedCosts) -> Float64:
    block = score >= at.block
    return costs.of(rows.amount, rows.fraud, (score >= at.review) & ~block, block)


def _mean(values: Float64, weight: Float64) -> float:
    total = weight.sum()
    return float((values * weight).sum() / total) if total else 0.0


def _precision(rows: TestRows, at: Bool) -> float:
    """Return the difference of the average precisions; 0 without a fraud."""
    fraud, weight = rows.fraud[at], rows.weight[at]
    if not fraud.any():
        return 0.0
    new, old = (
        float(average_precision_score(fraud, score[at], sample_weight=weight))
        for score in (rows.challenger, rows.champion)
    )
    return new - old


def _groups(customer: Int64) -> Int64:
    """Return the group of each row, 0 to 19: the same for all rows of a customer."""
    mixed = customer.astype(np.uint64) * _MIX
    return ((mixed >> np.uint64(33)) % np.uint64(_GROUPS)).astype(np.int64)


def _jackknife(value: float, without: list[float]) -> Interval:
    """Return the 95 % interval of a delete-a-group jackknife, by Student's t (Kott 2001)."""
    left = np.array(without)
    error = math.sqrt((_GROUPS - 1) / _GROUPS * float(((left - left.mean()) ** 2).sum()))
    half = float(stats.t.ppf(0.5 + _CONFIDENCE / 2, _GROUPS - 1)) * error
    return value - half, value, value + half


def _reference(rows: TestRows, cost: Float64, most: float) -> LossReference:
    """Return the challenger's loss by day; the interval of the mean is that of the days."""
    losses = []
    for day in np.unique(rows.day):
        at = rows.day == day
        losses.append(min(_mean(cost[at], rows.weight[at]) / most, 1.0))
    found = np.array(losses)
    mean, days = float(found.mean()), len(found)
    scale = float(found.std(ddof=1)) if days > 1 else 0.0
    around = found - mean
    spread = float((around**2).sum())
    phi = max(float((around[1:] * around[:-1]).sum()) / spread, 0.0) if spread else 0.0
    half = float(stats.t.ppf(_CONFIDENCE, days - 1)) * scale / math.sqrt(days) if days > 1 else 0.0
    return LossReference(mean, mean + half, phi, scale, days, most)
