"""Card precision: how many of the customers with the highest scores of a day are defrauded then."""

import numpy as np

from stream_scorer.performance.measures.contract import Bool, Float64, Int64, UInt64


class CardPrecision:
    """CP@k of n decisions, for many weightings; the definition is the handbook's.

    Per day, the k customers with the highest scores are taken. CP@k is the share of them that are
    defrauded on that day, averaged over the days. Customers that were found are left out on later
    days. Of equal scores, the customer with the lower hash comes first.

    Args:
        score: float64[n], finite.
        fraud: bool[n].
        card: uint64[n], hash of the customer.
        day: int64[n], number of the day.
        k: How many customers a day are looked at.
    """

    def __init__(self, score: Float64, fraud: Bool, card: UInt64, day: Int64, k: int) -> None:
        self._k = k
        self._days: list[tuple[Int64, Int64, Bool]] = []
        known, number = np.unique(card, return_inverse=True)
        self._cards = len(known)
        for each in np.unique(day).tolist():
            at = np.flatnonzero(day == each)
            ranked = at[np.lexsort((card[at], -score[at]))]
            _, first = np.unique(number[ranked], return_index=True)
            top = ranked[np.sort(first)]
            defrauded = np.isin(number[top], number[at[fraud[at]]])
            self._days.append((top, number[top], defrauded))

    def of(self, weight: Float64) -> float:
        """Return the measure; NaN without a decision.

        Args:
            weight: float64[n]; a customer counts as often as the decision with its highest score.
        """
        left = np.ones(self._cards, np.bool_)
        shares = []
        for top, card, defrauded in self._days:
            copies = np.where(left[card], weight[top], 0.0)
            taken = np.clip(self._k - (np.cumsum(copies) - copies), 0.0, copies)
            shares.append(float((taken * defrauded).sum()) / self._k)
            left[card[(taken > 0) & defrauded]] = False
        return float(np.mean(shares)) if shares else float("nan")
