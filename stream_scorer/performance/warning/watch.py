"""Watches the loss of one model version: learns its usual level, then warns once.

Three kinds of evidence share one budget in equal parts: ``guaranteed`` and ``gaussian`` of matured
losses, and ``powered`` of the losses of randomly drawn decisions, which are known much earlier. A
version's first 28 days are learned, and cannot warn. After its warning the version is not watched
any more: a new version begins anew.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from stream_scorer.performance.measures.contract import WindowKey
from stream_scorer.performance.warning.contract import LossReference, Warned
from stream_scorer.performance.warning.day_loss import LEAST_ROWS, LossSums
from stream_scorer.performance.warning.evidence import (
    CLASSES,
    GAUSSIAN,
    GUARANTEED,
    LossEvidence,
)
from stream_scorer.performance.warning.reference import LEARNING_DAYS, learn

PROCESSES: Final = 3
"""Kinds of evidence that share the budget."""
POWERED: Final = "powered"
SHARE_OF_LOSS: Final = 0.05
"""The tolerance where none is given, as a share of the reference's loss."""
_LEAST_DRAWN_DAYS: Final = 14
_DAY_MS: Final = 86_400_000
_KEPT: Final = 400


@dataclass(frozen=True, slots=True)
class WarningBudget:
    """The budget of a version's early warning.

    Attributes:
        alpha: Maximum probability of a false warning within the horizon.
        horizon_days: The horizon.
        tolerance: Rise of the mean loss, in [0, 1], that does not matter; 0: 5 % of the usual loss.
        most: The largest cost, in units of the currency.
    """

    alpha: float = 0.05
    horizon_days: int = 100
    tolerance: float = 0.0
    most: float = 200.0

    @property
    def threshold(self) -> float:
        """Logarithm of the evidence at which each kind warns."""
        return math.log(self.horizon_days * PROCESSES / self.alpha)


@dataclass(frozen=True, slots=True)
class LossJudgement:
    """What a day added.

    Attributes:
        log_e: Logarithms of the evidence by class; empty while the usual level is learned.
        warned: The warning, or None.
    """

    log_e: Mapping[str, float]
    warned: Warned | None = None


class LossWatch:
    """The early warning of one version.

    Args:
        budget: Budget and tolerance.

    Attributes:
        reference: The usual level; None while it is learned.
        warned: Whether there was a warning.
    """

    def __init__(self, budget: WarningBudget) -> None:
        self._budget = budget
        self.reference: LossReference | None = None
        self.warned = False
        self._learned: list[tuple[float, int]] = []
        self._drawn: list[tuple[int, float, int]] = []
        self._pool, self._pooled_from = LossSums(), 0
        self._drawn_pool, self._drawn_from = LossSums(), 0
        self._matured, self._powered = LossEvidence(1), LossEvidence(1)
        self._drawn_scale: tuple[float, float] | None = None
        self._last = 0

    @property
    def learning_days(self) -> int:
        """How many days are still to be learned."""
        return 0 if self.reference is not None else LEARNING_DAYS - len(self._learned)

    def matured(
        self, key: WindowKey, sums: LossSums
    ) -> tuple[WindowKey, LossSums, LossJudgement] | None:
        """Add a matured day; return the window with its sums and what it added.

        Args:
            key: The day.
            sums: Its sums.

        Returns:
            None if the day has too few decisions: it is pooled with the next one.
        """
        start = self._pooled_from if self._pool.rows else key.start
        pool = self._pool.plus(sums)
        if pool.rows < LEAST_ROWS:
            self._pool, self._pooled_from = pool, start
            return None
        self._pool = LossSums()
        window = WindowKey(key.model, key.version, key.arm, key.segment, start, key.end)
        reference = self.reference
        if reference is None:
            self._learned.append((pool.mean, pool.rows))
            if len(self._learned) == LEARNING_DAYS:
                self._begin(key.end)
            return window, pool, LossJudgement({})
        log_e = self._add(self._matured, pool.mean, reference.phi, reference.scale)
        found = {CLASSES[n]: log_e[n] for n in (GUARANTEED, GAUSSIAN)}
        over = [n for n in (GUARANTEED, GAUSSIAN) if log_e[n] >= self._budget.threshold]
        if self.warned or not over:
            return window, pool, LossJudgement(found)
        best = max(over, key=lambda n: log_e[n])
        warned = self._warn(window, log_e[best], CLASSES[best], pool.mean, self._matured, best)
        return window, pool, LossJudgement(found, warned)

    def powered(self, key: WindowKey, sums: LossSums) -> LossJudgement:
        """Add a day of drawn decisions, at the age of a review.

        Args:
            key: The day.
            sums: Its sums; a day without draws is pooled with the next one.
        """
        start = self._drawn_from if self._drawn_pool.rows else key.start
        pool = self._drawn_pool.plus(sums)
        if pool.rows < LEAST_ROWS or not pool.drawn:
            self._drawn_pool, self._drawn_from = pool, start
            return LossJudgement({})
        self._drawn_pool = LossSums()
        window = WindowKey(key.model, key.version, key.arm, key.segment, start, key.end)
        if self.reference is None:
            self._drawn = [*self._drawn, (key.end, pool.mean, pool.drawn)][-_KEPT:]
            return LossJudgement({})
        if self._drawn_scale is None:
            return LossJudgement({})
        return self._judge_drawn(window, pool.mean)

    def catch_up(self, key: WindowKey) -> Warned | None:
        """Judge the drawn days that came while the usual level was learned; return a warning.

        Args:
            key: Model, version, arm and segment.
        """
        if self.reference is None or self._drawn_scale is None:
            return None
        waiting = [each for each in self._drawn if each[0] > self._last]
        self._drawn = []
        for end, loss, _ in waiting:
            window = WindowKey(key.model, key.version, key.arm, key.segment, end - _DAY_MS, end)
            if (warned := self._judge_drawn(window, loss).warned) is not None:
                return warned
        return None

    def _judge_drawn(self, window: WindowKey, loss: float) -> LossJudgement:
        phi, scale = self._drawn_scale or (0.0, 1.0)
        log_e = self._add(self._powered, loss, phi, scale)[GAUSSIAN]
        if self.warned or log_e < self._budget.threshold:
            return LossJudgement({POWERED: log_e})
        warned = self._warn(window, log_e, POWERED, loss, self._powered, GAUSSIAN)
        return LossJudgement({POWERED: log_e}, warned)

    @property
    def tolerance(self) -> float:
        """The rise of the mean loss that does not matter; 0 while the level is learned."""
        if self._budget.tolerance > 0 or self.reference is None:
            return self._budget.tolerance
        return SHARE_OF_LOSS * self.reference.mean

    def _begin(self, end: int) -> None:
        """Learn the usual level from the days so far, the last of which ends at ``end``."""
        losses, rows = (np.array(column, float) for column in zip(*self._learned, strict=True))
        reference = self.reference = learn(losses, self._budget.most, float(1 / rows.min()))
        self._learned, self._last = [], end
        before = [each for each in self._drawn if each[0] <= end]
        if len(before) >= _LEAST_DRAWN_DAYS:
            _, drawn, count = (np.array(column, float) for column in zip(*before, strict=True))
            # A drawn decision stands for rows / drawn others.
            noise = learn(drawn, self._budget.most, float(1 / count.min()))
            self._drawn_scale = noise.phi, max(noise.scale, reference.scale)

    def _add(self, evidence: LossEvidence, loss: float, phi: float, scale: float) -> list[float]:
        reference = self.reference
        if reference is None:
            raise RuntimeError("the usual level is not learned yet")
        found = evidence.update(
            np.array([loss]), np.array([reference.high]), np.array([phi]), np.array([scale]),
            np.array([self.tolerance]),
        )  # fmt: skip
        return [float(each) for each in found[:, 0]]

    def _warn(
        self, window: WindowKey, log_e: float, klass: str, loss: float, evidence: LossEvidence,
        number: int,
    ) -> Warned:  # fmt: skip
        self.warned = True
        onset = window.end - max(evidence.days(number, 0), 1) * _DAY_MS
        return Warned(window, log_e, klass, min(onset, window.start), loss, self.tolerance)

    # -- state -------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Return the state for JSON; :meth:`restored` continues from it, bit for bit."""
        return {
            "reference": None if self.reference is None else asdict(self.reference),
            "warned": self.warned,
            "learned": self._learned,
            "drawn": self._drawn,
            "pools": [
                [*_sums(self._pool), self._pooled_from],
                [*_sums(self._drawn_pool), self._drawn_from],
            ],
            "evidence": [_arrays(each) for each in (self._matured, self._powered)],
            "drawn_scale": self._drawn_scale,
            "last": self._last,
        }

    @classmethod
    def restored(cls, budget: WarningBudget, document: Mapping[str, Any]) -> "LossWatch":
        """Return the watch of a state.

        Args:
            budget: Budget and tolerance.
            document: Of :meth:`document`.
        """
        watch = cls(budget)
        if document["reference"] is not None:
            watch.reference = LossReference(**document["reference"])
        watch.warned = document["warned"]
        watch._learned = [(float(loss), int(rows)) for loss, rows in document["learned"]]
        watch._drawn = [(int(end), float(loss), int(n)) for end, loss, n in document["drawn"]]
        (*pool, watch._pooled_from), (*drawn, watch._drawn_from) = document["pools"]
        watch._pool, watch._drawn_pool = LossSums(*pool), LossSums(*drawn)
        watch._matured, watch._powered = (_evidence(each) for each in document["evidence"])
        scale = document["drawn_scale"]
        watch._drawn_scale = None if scale is None else (float(scale[0]), float(scale[1]))
        watch._last = int(document["last"])
        return watch


def _sums(sums: LossSums) -> tuple[int, float, int, int]:
    return sums.rows, sums.loss, sums.drawn, sums.missing


def _arrays(evidence: LossEvidence) -> list[Any]:
    before = float(evidence.before[0])
    return [
        evidence.cusum.tolist(), evidence.age.tolist(), None if math.isnan(before) else before
    ]  # fmt: skip


def _evidence(kept: list[Any]) -> LossEvidence:
    evidence = LossEvidence(1)
    evidence.cusum, evidence.age = np.array(kept[0]), np.array(kept[1])
    evidence.before = np.array([math.nan if kept[2] is None else kept[2]])
    return evidence
