"""The random draws of past decisions, recomputed with the secret keys; see ``core.exploring``.

Without a key, a draw can only be checked for being possible. With it, each decision under a plan
that names this key must have the flag and the probability that the scorer gave it; and none may
have them under a plan that does not draw.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.exploring.draw import draw, drawn_for_review
from stream_scorer.core.exploring.draws import (
    Draws,
    explore_digest,
    explore_table,
    review_digest,
    review_table,
)
from stream_scorer.core.mapping.rates import base_minor, rates_of
from stream_scorer.errors import SettingsError
from stream_scorer.security.keys import read_secret

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

LET_THROUGH: Final = "outcome_propensity"
REVIEW: Final = "review_propensity"
DRAWS_NOT_CHECKED: Final = "draws_not_checked"


@dataclass(frozen=True, slots=True)
class ExpectedDraws:
    """What n decisions should say of their draws; None: the key of the draw is not known.

    Attributes:
        through: bool[n], which would-be BLOCKs are let through.
        propensity: float64[n], the probability of the published outcome; if ``through`` is known.
        drawn: bool[n], which transactions are drawn for review.
        review: The probability of that; if ``drawn`` is known.
    """

    through: Bool | None = None
    propensity: Float64 | None = None
    drawn: Bool | None = None
    review: float = 0.0

    def wrong(self, recorded: pa.RecordBatch, flags: Int64) -> dict[str, Bool]:
        """Return bool[n] for each draw that is known: which decisions differ in it.

        Args:
            recorded: n decisions.
            flags: int64[n], their bits of :class:`Flag`.
        """
        found: dict[str, Bool] = {}
        if self.through is not None and self.propensity is not None:
            unlike = (flags & int(Flag.LET_THROUGH) > 0) != self.through
            found[LET_THROUGH] = unlike | (_numbers(recorded, LET_THROUGH) != self.propensity)
        if self.drawn is not None:
            unlike = (flags & int(Flag.DRAWN) > 0) != self.drawn
            found[REVIEW] = unlike | (_numbers(recorded, REVIEW) != self.review)
        return found

    def unchecked(self, recorded: pa.RecordBatch) -> int:
        """Return how many decisions depend on a draw whose key is not known."""
        left = np.zeros(len(recorded), np.bool_)
        if self.through is None:
            left |= _numbers(recorded, LET_THROUGH) < 1
        if self.drawn is None:
            left |= _numbers(recorded, REVIEW) > 0
        return int(left.sum())

    def at(self, row: int, name: str) -> dict[str, Any]:
        """Return what a decision should say of a draw, as plain data."""
        if name == LET_THROUGH and self.through is not None and self.propensity is not None:
            return told(float(self.propensity[row]), drawn=bool(self.through[row]))
        return told(self.review, drawn=bool(self.drawn is not None and self.drawn[row]))


def told(probability: float, *, drawn: bool) -> dict[str, Any]:
    """Return a draw and its probability as plain data."""
    return {"probability": probability, "drawn": drawn}


def _numbers(recorded: pa.RecordBatch, name: str) -> Float64:
    return np.asarray(recorded.column(name), np.float64)


def keys_of(explore: Path | None, review: Path | None) -> Draws:
    """Return the keys of two files; None: the key is not known.

    Raises:
        SettingsError: A file is not there, not private, or too short.
    """
    found = [
        None if file is None else read_secret(file, f"{option} {file}")
        for file, option in ((explore, "--explore-key"), (review, "--review-key"))
    ]
    try:
        return Draws(*found)
    except ValueError as error:
        raise SettingsError(str(error), "name the file that the scorers have") from None


def amounts_of(decisions: pa.RecordBatch, plan: Plan) -> Int64:
    """Return int64[n], the amounts of decisions in minor units of the plan's base currency."""
    amount = _whole(decisions, "amount_minor")
    if plan.mapping is None or not plan.mapping.rates:
        return amount
    rates = rates_of(plan.mapping.rates, plan.currencies)
    currency, time = decisions.column("currency"), _whole(decisions, "event_time")
    return base_minor(rates, amount.copy(), currency, time)[0]


def _whole(decisions: pa.RecordBatch, name: str) -> Int64:
    return np.asarray(decisions.column(name).cast(pa.int64()), np.int64)


def expected_draws(
    keys: Draws, plan: Plan, decisions: pa.RecordBatch, score: Float64,
    outcome: NDArray[np.uint8], amounts: Int64,
) -> ExpectedDraws:  # fmt: skip
    """Draw again for n decisions.

    Args:
        keys: The secret keys, as far as they are known.
        plan: The plan of the decisions.
        decisions: Their customers, event times and transaction ids.
        score: float64[n], recomputed.
        outcome: uint8[n], the recomputed outcomes of the policy.
        amounts: int64[n], in minor units of the plan's base currency.
    """
    through, propensity = _let_through(keys, plan, decisions, score, outcome, amounts)
    drawn, review = _reviewed(keys, plan, decisions)
    return ExpectedDraws(through, propensity, drawn, review)


def _let_through(
    keys: Draws, plan: Plan, decisions: pa.RecordBatch, score: Float64,
    outcome: NDArray[np.uint8], amounts: Int64,
) -> tuple[Bool | None, Float64 | None]:  # fmt: skip
    table, key = explore_table(plan), keys.explore_key
    if key is None or (table is not None and explore_digest(key) != table.key_digest):
        return None, None
    exploration = keys.exploration(plan)
    if exploration is None:
        return np.zeros(len(decisions), np.bool_), np.ones(len(decisions))
    found = draw(
        exploration, decisions.column("customer_id"), _whole(decisions, "event_time"), score,
        amounts, outcome == Outcome.BLOCK,
    )  # fmt: skip
    return found.through, found.propensity


def _reviewed(keys: Draws, plan: Plan, decisions: pa.RecordBatch) -> tuple[Bool | None, float]:
    table, key = review_table(plan), keys.review_key
    if key is None or (table is not None and review_digest(key) != table.key_digest):
        return None, 0.0
    if table is None:
        return np.zeros(len(decisions), np.bool_), 0.0
    hashes = hashes_of(decisions.column("transaction_id"))
    return drawn_for_review(key, table.probability, hashes), table.probability
