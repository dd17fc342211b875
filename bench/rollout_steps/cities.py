"""Cities in which a blocked fraud yields no label, and two candidates that differ in known ways.

A city is drawn as columns, not transaction by transaction, so that hundreds of them take minutes.
Customers have gamma rates. Frauds come in bursts, of a customer for 14 days or of a terminal for 28
days. Each transaction is in a zone of scores, which decides what both versions say about it:

| zone | share | frauds in it | champion and candidate |
|---|---|---|---|
| sure | 0.6 % | 80 % | both block it |
| alerted | 1.6 % | 95 % | one reviews it, the other blocks it |
| harmless | 0.24 % | none | one approves it, the other blocks it |
| doubtful | 1 % | 30 % | both review it |
| missed | 0.36 % | all | both approve it |
| rest | | none | both approve it |

A review costs 5 and a false block 25. So to block what is alerted is cheaper by 0.016 x (5 - 1.25)
= 0.06 a transaction, and to block what is harmless dearer by 0.0024 x 25 = 0.06: 2 delta.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import BUCKETS, salted_buckets
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.explore_table import ExploreTable
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.exploring.contract import Drawn, Exploration
from stream_scorer.core.exploring.draw import draw
from stream_scorer.core.labelling.contract import FRAUD, NO_LABEL, LabelPolicy
from stream_scorer.ports import Float64, Int64
from stream_scorer.rollout.evidence.bucket_counts import CANARY_SIDE, CONTROL_SIDE
from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.rollout.evidence.label_rows import NO_OUTCOME, Ripe

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

DAY_MS: Final = 86_400_000
DELTA: Final = 0.03
"""In units of the currency per transaction."""
COSTS: Final = BoundedCosts(most=200.0)
SHARE: Final = 0.07
"""Of would-be BLOCKs that are let through."""
MOST_MINOR: Final = 50_000
EXPLORE: Final = ExploreTable("0" * 32, ((0.5, SHARE),), MOST_MINOR, 1.0, 1.0, "0" * 64)
POLICY: Final = LabelPolicy("genuine", on=True)

SURE, ALERTED, HARMLESS, DOUBTFUL, MISSED, REST = range(6)
_SHARES: Final = np.array([0.006, 0.016, 0.0024, 0.01, 0.0036])
_FRAUDS: Final = np.array([0.8, 0.95, 0.0, 0.3, 1.0])
_SCORE: Final = np.array([0.95, 0.75, 0.65, 0.4, 0.1, 0.05])

KINDS: Final = ("blocks_alerted", "reviews_alerted", "fewer_false", "more_false")
"""What the candidate does otherwise than the champion: better, worse, better, worse."""
_BLOCKING: Final = {
    "blocks_alerted": (ALERTED, Outcome.REVIEW, Outcome.BLOCK),
    "reviews_alerted": (ALERTED, Outcome.BLOCK, Outcome.REVIEW),
    "fewer_false": (HARMLESS, Outcome.BLOCK, Outcome.APPROVE),
    "more_false": (HARMLESS, Outcome.APPROVE, Outcome.BLOCK),
}
_USUAL: Final = {
    SURE: Outcome.BLOCK, ALERTED: Outcome.REVIEW, HARMLESS: Outcome.APPROVE,
    DOUBTFUL: Outcome.REVIEW, MISSED: Outcome.APPROVE, REST: Outcome.APPROVE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class City:
    """n transactions in the order of time.

    Attributes:
        time: int64[n], event times, ms.
        customer: int64[n], numbers of the customers.
        bucket: int64[n], salted bucket of each customer.
        zone: uint8[n].
        fraud: bool[n], the truth.
        amount_minor: int64[n].
    """

    time: Int64
    customer: Int64
    bucket: Int64
    zone: UInt8
    fraud: Bool
    amount_minor: Int64

    def __len__(self) -> int:
        return len(self.time)

    @property
    def amount(self) -> Float64:
        """float64[n], amounts in units of the currency."""
        return self.amount_minor / 100

    @property
    def inside(self) -> Bool:
        """bool[n], which transactions belong to the estimand."""
        return np.asarray(self.amount_minor <= MOST_MINOR, np.bool_)

    @property
    def score(self) -> Float64:
        """float64[n]."""
        return np.asarray(_SCORE[self.zone], np.float64)

    def outcome(self, kind: str | None, *, candidate: bool) -> UInt8:
        """Return uint8[n], what a version's policy says.

        Args:
            kind: One of :data:`KINDS`; None: both versions are the same.
            candidate: Whether it is the candidate.
        """
        said = dict(_USUAL)
        if kind is not None:
            zone, champion, changed = _BLOCKING[kind]
            said[zone] = changed if candidate else champion
        return np.array([said[zone] for zone in sorted(said)], np.uint8)[self.zone]

    def cost(self, outcome: UInt8) -> Float64:
        """Return float64[n], the true costs of outcomes, which only the simulator knows."""
        return COSTS.of(
            self.amount, self.fraud, outcome == Outcome.REVIEW, outcome == Outcome.BLOCK
        )

    def drawn(self, key: bytes, outcome: UInt8) -> Drawn:
        """Return the draws of let-through, by the scorer's function."""
        block = outcome == Outcome.BLOCK
        rows = np.flatnonzero(block)
        exploration = Exploration(np.array(EXPLORE.bands), MOST_MINOR, key)
        found = draw(
            exploration, names_of(self.customer[rows]), self.time[rows], self.score[rows],
            self.amount_minor[rows], block[rows],
        )  # fmt: skip
        through, propensity = np.zeros(len(self), np.bool_), np.ones(len(self))
        through[rows], propensity[rows] = found.through, found.propensity
        return Drawn(through, propensity)


def salt_of(seed: int) -> str:
    """Return the salt of a city's buckets: each city assigns its customers anew."""
    return f"let-through {seed}"


def names_of(customer: Int64) -> pa.Array:
    """Return the ids of customers."""
    return pa.array([f"c{number}" for number in customer.tolist()], pa.string())


def city(seed: int, rows: int, days: int = 30) -> City:
    """Draw a city.

    Args:
        seed: Of all that is random.
        rows: Number of transactions.
        days: Its length.
    """
    rng = np.random.default_rng([20, seed])
    people = max(rows // 50, 100)
    frauds = _bursts(rng, round(rows * float(_SHARES @ _FRAUDS)), people, days)
    genuine = rows - len(frauds[0])
    rate = rng.gamma(2.0, size=people)
    customer = np.concatenate([frauds[1], rng.choice(people, genuine, p=rate / rate.sum())])
    time = np.concatenate([frauds[0], rng.random(genuine) * days * DAY_MS]).astype(np.int64)
    fraud = np.arange(rows) < len(frauds[0])
    amount = np.exp(rng.normal(3.4, 1.0, rows)) * np.where(fraud, 1.6, 1.0)
    order = np.argsort(time, kind="stable")
    hashes = hashes_of(names_of(np.arange(people)))
    return City(
        time[order], customer[order], salted_buckets(hashes, salt_of(seed))[customer[order]],
        _zones(rng, fraud)[order], fraud[order], np.rint(amount * 100).astype(np.int64)[order],
    )  # fmt: skip


def _bursts(rng: np.random.Generator, count: int, people: int, days: int) -> tuple[Float64, Int64]:
    """Return the times and customers of frauds: half are a customer's, half a terminal's."""
    times, customers = [np.empty(0)], [np.empty(0, np.int64)]
    for share, length, mean in ((0.5, 14, 6.0), (0.5, 28, 12.0)):
        bursts = max(round(count * share / mean), 1)
        of = rng.integers(0, bursts, round(count * share))
        begins = rng.uniform(-length, days, bursts)
        day = np.clip(begins[of] + rng.uniform(0, length, len(of)), 0, None) % days
        times.append(day * DAY_MS)
        victims = rng.integers(0, people, bursts)
        own = length == 14
        customers.append(victims[of] if own else rng.integers(0, people, len(of)))
    return np.concatenate(times), np.concatenate(customers)


def _zones(rng: np.random.Generator, fraud: Bool) -> UInt8:
    zone = np.empty(len(fraud), np.uint8)
    for wanted, shares in ((True, _SHARES * _FRAUDS), (False, _SHARES * (1 - _FRAUDS))):
        mine = np.flatnonzero(fraud == wanted)
        part = shares * len(fraud) / max(len(mine), 1)
        rest = 0.0 if wanted else 1 - part.sum()
        every = np.append(part, rest)
        zone[mine] = rng.choice(len(every), len(mine), p=every / every.sum())
    return zone


def matured(made: City, kind: str | None, drawn: Drawn | None, policy: LabelPolicy) -> Ripe:
    """Return a city's decisions with their labels, as a label join does.

    The lower half of the buckets is the canary's. A fraud that was published as BLOCK has no label.

    Args:
        made: The city.
        kind: What the candidate does otherwise.
        drawn: What was let through; None: nothing.
        policy: What a decision without a label counts as.
    """
    canary = made.bucket < BUCKETS // 2
    said = np.where(
        canary, made.outcome(kind, candidate=True), made.outcome(kind, candidate=False)
    ).astype(np.uint8)
    through = np.zeros(len(made), np.bool_) if drawn is None else drawn.through
    outcome = np.where(through, np.uint8(Outcome.APPROVE), said)
    stated = made.fraud & (outcome != Outcome.BLOCK)
    state = policy.settle(
        np.where(stated, np.uint8(FRAUD), np.uint8(NO_LABEL)), outcome == Outcome.BLOCK,
        np.zeros(len(made), np.int64), risk=False,
    )  # fmt: skip
    return Ripe(
        made.time, np.where(canary, CANARY_SIDE, CONTROL_SIDE).astype(np.uint8),
        np.where(canary, made.bucket, BUCKETS - 1 - made.bucket), made.amount, outcome,
        np.full(len(made), NO_OUTCOME, np.uint8), said,
        np.ones(len(made)) if drawn is None else drawn.propensity, made.inside, state,
    )  # fmt: skip


def outcomes_by_arm(made: City, kind: str | None) -> UInt8:
    """Return uint8[n], what the policy of each transaction's arm says."""
    canary = made.bucket < BUCKETS // 2
    both = made.outcome(kind, candidate=True), made.outcome(kind, candidate=False)
    return np.where(canary, *both).astype(np.uint8)


def true_benefit(made: City, kind: str) -> float:
    """Return by how much the candidate is cheaper per transaction of the estimand, in truth."""
    control, candidate = (made.cost(made.outcome(kind, candidate=who)) for who in (False, True))
    return float((control - candidate)[made.inside].mean())
