"""The draws of a process: its secret keys, and what a plan asks for with them."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np

from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome
from stream_scorer.core.events.explore_table import (
    ExploreTable,
    ReviewTable,
    read_explore,
    read_review_sample,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.contract import Exploration
from stream_scorer.core.exploring.draw import draw, drawn_for_review

KEY_BYTES_LEAST: Final = 32
"""Minimum length of a secret key."""
_EXPLORE: Final = b"stream-scorer explore key 1\n"
_REVIEW: Final = b"stream-scorer review key 1\n"
_DIGITS: Final = 32


def explore_digest(key: bytes) -> str:
    """Return the name of a key of ``explore`` in plans: 32 hex digits.

    >>> explore_digest(b"0" * 32) == review_digest(b"0" * 32)
    False
    """
    return hashlib.sha256(_EXPLORE + key).hexdigest()[:_DIGITS]


def review_digest(key: bytes) -> str:
    """Return the name of a key of ``review_sample`` in plans: 32 hex digits."""
    return hashlib.sha256(_REVIEW + key).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class ReviewDraw:
    """The plan's table ``review_sample``, with the secret key that it names by digest.

    Attributes:
        probability: Of each transaction.
        key: 32 bytes or more; never printed.
    """

    probability: float
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draws:
    """The secret keys of a process.

    Attributes:
        explore_key: Of let-through; None: it has none.
        review_key: Of the draw for review; None: it has none.

    Raises:
        ValueError: A key is shorter than 32 bytes.
    """

    explore_key: bytes | None = field(default=None, repr=False)
    review_key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, key in (("explore", self.explore_key), ("review", self.review_key)):
            if key is not None and len(key) < KEY_BYTES_LEAST:
                raise ValueError(f"{name} key: has {len(key)} bytes, fewer than {KEY_BYTES_LEAST}")

    def exploration(self, plan: Plan) -> Exploration | None:
        """Return which would-be BLOCKs a plan lets through; None if it has no such table.

        Raises:
            ValueError: The process does not have the key that the plan names.
        """
        table = explore_table(plan)
        if table is None:
            return None
        key = self.explore_key
        if key is None or explore_digest(key) != table.key_digest:
            raise ValueError(_missing("explore", table.key_digest, key, "scorer.explore_key_file"))
        return Exploration(np.array(table.bands, np.float64), table.most_minor, key)

    def review(self, plan: Plan) -> ReviewDraw | None:
        """Return which transactions a plan draws for review; None if it has no such table.

        Raises:
            ValueError: The process does not have the key that the plan names.
        """
        table = review_table(plan)
        if table is None:
            return None
        key = self.review_key
        if key is None or review_digest(key) != table.key_digest:
            where = "scorer.review_key_file"
            raise ValueError(_missing("review_sample", table.key_digest, key, where))
        return ReviewDraw(table.probability, key)

    def apply(self, decisions: DecisionBatch, plan: Plan) -> DecisionBatch:
        """Return decisions after the draws that a plan asks for.

        Args:
            decisions: n decisions by the plan's policy.
            plan: The plan.

        Raises:
            ValueError: The process does not have a key that the plan names; see :meth:`check`.
        """
        if (exploration := self.exploration(plan)) is not None:
            decisions = _let_through(decisions, exploration)
        if (review := self.review(plan)) is not None:
            hashes = decisions.events.hashes("transaction_id")
            drawn = drawn_for_review(review.key, review.probability, hashes)
            flags = decisions.flags | np.where(drawn, np.uint8(Flag.DRAWN), np.uint8(0))
            decisions = replace(decisions, flags=flags, review_propensity=review.probability)
        return decisions

    def check(self, plan: Plan) -> None:
        """Check that the process has the keys that a plan names.

        Raises:
            ValueError: It does not; the message names the table and the setting.
        """
        self.exploration(plan)
        self.review(plan)


NO_KEYS: Final = Draws()
"""Of a process that has none: it draws nothing."""


def _let_through(decisions: DecisionBatch, exploration: Exploration) -> DecisionBatch:
    block = decisions.outcome == Outcome.BLOCK
    if not block.any():
        return decisions
    events = decisions.events
    drawn = draw(
        exploration, events.records.column("customer_id"), events.int64("event_time"),
        decisions.score, events.amounts, block,
    )  # fmt: skip
    flags = decisions.flags | np.where(drawn.through, np.uint8(Flag.LET_THROUGH), np.uint8(0))
    outcome = np.where(drawn.through, np.uint8(Outcome.APPROVE), decisions.outcome)
    return replace(
        decisions, outcome=outcome, flags=flags, policy_outcome=decisions.outcome,
        outcome_propensity=drawn.propensity,
    )  # fmt: skip


def _missing(table: str, digest: str, key: bytes | None, setting: str) -> str:
    has = "this process has no key" if key is None else "the key of this process is another one"
    return f"{table}: needs the key of digest {digest}, and {has}: {setting}"


def explore_table(plan: Plan) -> ExploreTable | None:
    """Return a plan's table ``explore``; None if it has none."""
    if not plan.explore:
        return None
    return _explore(json.dumps(plan.explore, sort_keys=True), plan.exponent)


def review_table(plan: Plan) -> ReviewTable | None:
    """Return a plan's table ``review_sample``; None if it has none."""
    return read_review_sample(plan.review_sample)


@lru_cache(maxsize=16)
def _explore(text: str, exponent: int) -> ExploreTable | None:
    return read_explore(json.loads(text), exponent)
