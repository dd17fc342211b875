"""Simulated rollouts: a handbook city's stream, decided by the shipped model, cut into looks.

Each city has different people, places, purchases and frauds. Its decisions are those of the shipped
bundle, features and history included. Errors and slow calls, which a city does not have, are
generated, the same for both arms: few customers have most of the errors, and slow calls come in
spells that hit both arms' calls.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.models.bundles.loader import Bundle, load_bundle
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.ports import Float64, Int64
from stream_scorer.rollout.evidence.anytime_bounds import Sample, look_number
from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.simulator import simulate
from stream_scorer.training.fold import fold

Bool = NDArray[np.bool_]

MODEL = "fraud:1.1.0"
CUSTOMERS, TERMINALS = 1_600, 3_200
WARM_UP_DAYS = 7
FIRST_LOOK = 1_000
BUCKETS = 10_000
PAIRS = BUCKETS // 2
SHARES = (0.05, 0.25, 0.5)
COSTS = BoundedCosts(most=200.0)
"""In units of the currency; but for the bound, those that the shipped model's thresholds follow."""
_SLOT_ROWS = 500
_ERRORS, _ERRORS_OF_FEW = 0.0005, 0.02
_SLOW, _SLOW_IN_SPELL, _SPELL_ENDS, _SPELL_BEGINS = 0.01, 0.3, 0.2, 0.02
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Stream:
    """n decisions of a city after the warm-up, in time order, and the looks at them.

    Attributes:
        bucket: int64[n], place of the customer's bucket in the salt's order, below 10,000.
        customer: int64[n].
        day: float64[n], days since the rollout began.
        score: float64[n].
        review: Score from which the champion reviews.
        block: Score from which both models block.
        amount: float64[n], in units of the currency.
        fraud: bool[n].
        error: bool[n], whether deciding the event fails, in either arm.
        slow: bool[2, s], whether the canary's and the control's call of each slot is slow.
        look_rows: int64[k], rows before each look.
        looks: int64[k], their numbers.
    """

    bucket: Int64
    customer: Int64
    day: Float64
    score: Float64
    review: float
    block: float
    amount: Float64
    fraud: Bool
    error: Bool
    slow: Bool
    look_rows: Int64
    looks: Int64


@cache
def _bundle() -> Bundle:
    return load_bundle(find(FolderStore(MODELS_DIRECTORY), MODEL))


def stream(city: int, days: int) -> Stream:
    """Simulate so many days of a city after its warm-up, score them, and draw a salt."""
    bundle, plan = _bundle(), Plan()
    table = simulate(WARM_UP_DAYS + days, CUSTOMERS, TERMINALS, city)
    fraud = table["is_fraud"].to_numpy()
    # The simulated labels have no time: they count as known immediately, as in the published data.
    features = fold(table, compile_features(bundle.manifest.features, plan), plan, fraud).features
    day = table["event_time"].to_numpy().astype(np.int64) / _DAY_MS
    day = day - np.floor(day[0]) - WARM_UP_DAYS
    told = day >= 0
    customer = table["customer_id"].to_numpy().astype(np.int64)[told]
    random = np.random.default_rng(city)
    rows = np.arange(1, len(customer) + 1)
    due = np.array([look_number(n, FIRST_LOOK) for n in rows.tolist()])
    look_rows = np.flatnonzero(np.diff(due, prepend=0)) + 1
    often = random.random(CUSTOMERS) < 0.02
    return Stream(
        bucket=random.integers(0, BUCKETS, CUSTOMERS)[customer],
        customer=customer,
        day=day[told],
        score=bundle.predictor.scores(features[told]),
        review=bundle.manifest.thresholds.review,
        block=bundle.manifest.thresholds.block,
        amount=table["amount_minor"].to_numpy()[told] / 100,
        fraud=fraud[told],
        error=random.random(len(customer)) < np.where(often, _ERRORS_OF_FEW, _ERRORS)[customer],
        slow=_slow_calls(random, 1 + len(customer) // _SLOT_ROWS),
        look_rows=look_rows,
        looks=due[look_rows - 1],
    )


def _slow_calls(random: np.random.Generator, slots: int) -> Bool:
    """Return bool[2, slots]: slow calls of both arms, more of them while a spell lasts."""
    spell, chance = False, np.empty(slots)
    for slot, drawn in enumerate(random.random(slots)):
        spell = drawn >= _SPELL_ENDS if spell else drawn < _SPELL_BEGINS
        chance[slot] = _SLOW_IN_SPELL if spell else _SLOW
    return random.random((2, slots)) < chance


def costs(stream: Stream, alert: Bool) -> Float64:
    """Return float64[n], bounded cost of decisions; alerts with scores from ``block`` on block.

    Args:
        stream: The events.
        alert: bool[n], which of them are not approved.
    """
    block = alert & (stream.score >= stream.block)
    return COSTS.of(stream.amount, stream.fraud, alert & ~block, block)


class Tallies:
    """Running sums per pair and arm at each look, of which a sample is a difference.

    Args:
        bucket: int64[n], as in :class:`Stream`.
        part: int64[n], index of the first look that sees the row; ``looks`` if none does.
        looks: How many there are.
    """

    def __init__(self, bucket: Int64, part: Int64, looks: int) -> None:
        self.canary = bucket < PAIRS
        # The canary takes buckets from the front of the salt's order, the control from its end.
        pair = np.where(self.canary, bucket, BUCKETS - 1 - bucket)
        seen = part < looks
        self._rows = np.flatnonzero(seen)
        self._cell = ((part * 2 + ~self.canary) * PAIRS + pair)[seen]
        self._looks = looks
        self.count = self.sums(np.ones(len(bucket)))

    def sums(self, values: Float64) -> Float64:
        """Return float64[looks + 1, 2, pairs]: sums before each look; the first are 0."""
        found = np.zeros((self._looks + 1, 2, PAIRS))
        cells = np.bincount(self._cell, values[self._rows], self._looks * 2 * PAIRS)
        found[1:] = cells.reshape(self._looks, 2, PAIRS).cumsum(axis=0)
        return found

    def sample(self, sums: Float64, look: int, joined: Int64) -> Sample:
        """Return each pair's sums from the look after which it joined to another look.

        Args:
            sums: From :meth:`sums`.
            look: Number of looks until the end; 1 for the first one.
            joined: int64[s], looks that had been taken when each stage began.
        """
        stage = np.repeat(
            np.arange(len(joined)),
            np.diff([0, *(round(BUCKETS * s) for s in SHARES)])[: len(joined)],
        )
        pair = np.arange(len(stage))
        since = np.asarray(joined)[stage]

        def between(of: Float64, arm: int) -> Float64:
            found: Float64 = of[look, arm, pair] - of[since, arm, pair]
            return found

        return Sample(
            between(sums, 0), between(sums, 1),
            between(self.count, 0), between(self.count, 1), stage.astype(np.int64),
        )  # fmt: skip
