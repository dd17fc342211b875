"""Watches the loss of one model version: learns its usual level, then warns once.

Three kinds of evidence share one budget in equal parts: ``guaranteed`` and ``gaussian`` of matured
losses, and ``powered`` of the losses of randomly drawn decisions, which are known much earlier. A
version's first 28 days are learned, and cannot warn. After its warning the version is not watched
any more: a new version begins anew.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final

import numpy as np

from stream_scorer.performance.measures.contract import WindowKey
from stream_scorer.performance.warning.contract import LossReference, Warned
from stream_scorer.performance.warning.day_loss import LEAST_ROWS, LossSums
from stream_scorer.performance.warning.evidence import (
    CLASSES,
    GAUSSIAN,
    GUARANTEED,
    DrawnEvidence,
    LossEvidence,
)
from stream_scorer.performance.warning.reference import LEARNING_DAYS, learn

PROCESSES: Final = 3
"""Kinds of evidence that share the budget."""
POWERED: Final = "powered"
SHARE_OF_LOSS: Final = 0.05
"""The tolerance where none is given, as a share of the reference's loss."""
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
        allowed: Rise of the mean loss that does not matter on the days to come; None: 5 % of the
            usual loss. At first it is the budget's.
        reference: The usual level; None while it is learned.
        revealed: The usual level of revealed losses; likewise.
        warned: Whether there was a warning.
    """

    def __init__(self, budget: WarningBudget) -> None:
        self._budget = budget
        self.allowed: float | None = budget.tolerance or None
        self.reference: LossReference | None = None
        self.revealed: LossReference | None = None
        self.warned = False
        self._learned: list[tuple[float, int, float, float]] = []
        self._drawn: list[tuple[int, float, float]] = []
        self._pool, self._pooled_from = LossSums(), 0
        self._matured, self._powered = LossEvidence(1), DrawnEvidence(1)
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
            shown = pool.revealed_mean, pool.exposure
            self._learned.append((pool.mean, pool.rows, *shown))
            if len(self._learned) == LEARNING_DAYS:
                self._begin(key.end)
            return window, pool, LossJudgement({})
        log_e = self._add(self._matured, pool.mean, reference.phi, reference.scale)
        found = {CLASSES[n]: log_e[n] for n in (GUARANTEED, GAUSSIAN)}
        over = [n for n in (GUARANTEED, GAUSSIAN) if log_e[n] >= self._budget.threshold]
        if self.warned or not over:
            return window, pool, LossJudgement(found)
        best = max(over, key=lambda n: log_e[n])
        days = self._matured.days(best, 0)
        warned = self._warn(window, log_e[best], CLASSES[best], pool.mean, days)
        return window, pool, LossJudgement(found, warned)

    def powered(self, key: WindowKey, sums: LossSums) -> LossJudgement:
        """Add a day of drawn decisions, at the age of a review.

        Args:
            key: The day.
            sums: Its sums; they do not count if no decision could be drawn.
        """
        if sums.exposure <= 0:
            return LossJudgement({})
        if self.reference is None:
            self._drawn = [*self._drawn, (key.end, sums.revealed, sums.exposure)][-_KEPT:]
            return LossJudgement({})
        return self._judge_drawn(key, sums.revealed, sums.exposure)

    def catch_up(self, key: WindowKey) -> Warned | None:
        """Judge the drawn days that came while the usual level was learned; return a warning.

        Args:
            key: Model, version, arm and segment.
        """
        if self.reference is None:
            return None
        waiting, self._drawn = [each for each in self._drawn if each[0] > self._last], []
        for end, revealed, exposure in waiting:
            window = WindowKey(key.model, key.version, key.arm, key.segment, end - _DAY_MS, end)
            if (warned := self._judge_drawn(window, revealed, exposure).warned) is not None:
                return warned
        return None

    def _judge_drawn(self, window: WindowKey, hits: float, exposure: float) -> LossJudgement:
        if self.reference is None or self.revealed is None:
            return LossJudgement({})
        share = self.revealed.mean / self.reference.mean if self.reference.mean > 0 else 1.0
        expected = (self.revealed.high + self.tolerance * share) * exposure
        spread = self.revealed.scale * exposure
        found = self._powered.update(np.array([hits]), np.array([expected]), np.array([spread]))
        log_e = float(found[0])
        if self.warned or log_e < self._budget.threshold:
            return LossJudgement({POWERED: log_e})
        days = self._powered.days(0)
        warned = self._warn(window, log_e, POWERED, hits / exposure, days)
        return LossJudgement({POWERED: log_e}, warned)

    @property
    def tolerance(self) -> float:
        """The rise of the mean loss that does not matter; 0 while the level is learned."""
        if self.reference is None:
            return 0.0
        return SHARE_OF_LOSS * self.reference.mean if self.allowed is None else self.allowed

    def _begin(self, end: int) -> None:
        """Learn the usual level from the days so far, the last of which ends at ``end``."""
        columns = zip(*self._learned, strict=True)
        losses, rows, shown, exposure = (np.array(column, float) for column in columns)
        most = self._budget.most
        self.reference = learn(losses, most, float(1 / rows.min()))
        self.revealed = learn(shown, most, float(1 / max(exposure.min(), 1.0)))
        self._learned, self._last = [], end

    def _add(self, evidence: LossEvidence, loss: float, phi: float, scale: float) -> list[float]:
        reference = self.reference
        if reference is None:
            raise RuntimeError("the usual level is not learned yet")
        found = evidence.update(
            np.array([loss]), np.array([reference.high]), np.array([phi]), np.array([scale]),
            np.array([self.tolerance]),
        )  # fmt: skip
        return [float(each) for each in found[:, 0]]

    def _warn(self, window: WindowKey, log_e: float, klass: str, loss: float, days: int) -> Warned:
        self.warned = True
        onset = min(window.end - max(days, 1) * _DAY_MS, window.start)
        return Warned(window, log_e, klass, onset, loss, self.tolerance)

    # -- state -------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Return the state for JSON; :meth:`restored` continues from it, bit for bit."""
        levels = self.reference, self.revealed
        before = float(self._matured.before[0])
        return {
            "levels": [None if each is None else asdict(each) for each in levels],
            "warned": self.warned,
            "learned": self._learned,
            "drawn": self._drawn,
            "pool": [*astuple(self._pool), self._pooled_from],
            "matured": _arrays(self._matured),
            "powered": _arrays(self._powered),
            "before": None if math.isnan(before) else before,
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
        watch.reference, watch.revealed = (
            None if each is None else LossReference(**each) for each in document["levels"]
        )
        watch.warned = document["warned"]
        watch._learned = [tuple(each) for each in document["learned"]]
        watch._drawn = [tuple(each) for each in document["drawn"]]
        *pool, watch._pooled_from = document["pool"]
        watch._pool = LossSums(*pool)
        for evidence in (watch._matured, watch._powered):
            name = "matured" if evidence is watch._matured else "powered"
            evidence.cusum, evidence.age = (np.array(each) for each in document[name])
        before = document["before"]
        watch._matured.before = np.array([math.nan if before is None else before])
        watch._last = int(document["last"])
        return watch


def _arrays(evidence: LossEvidence | DrawnEvidence) -> list[Any]:
    return [evidence.cusum.tolist(), evidence.age.tolist()]
