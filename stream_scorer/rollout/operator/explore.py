"""``rollout explore``: what an exploration would have cost, and the plan's table for it.

Past decisions tell which transactions would have been drawn. No label is needed: every would-be
BLOCK counts as a fraud that is lost. So the expected money is an upper bound, if the coming days
are as the past ones.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.exploring.draws import KEY_BYTES_LEAST, explore_digest
from stream_scorer.core.mapping.minor_units import in_units, minor_per_unit
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import Float64, Int64
from stream_scorer.registry.sources import narrowed, open_registry, reader_schema
from stream_scorer.security.keys import read_secret
from stream_scorer.settings import Settings

LEAST_LET_THROUGH: Final = 300
LEAST_GENUINE: Final = 50
_DAY_MS: Final = 86_400_000
_FIELDS: Final = frozenset(
    {"customer_id", "event_time", "score", "decision", "policy_outcome", "amount_minor", "currency"}
)
_RECORDS: Final = 20_000
_POLL_SECONDS: Final = 0.5
_NINETY_NINE: Final = 2.3263
"""Standard deviations of the 99 % quantile."""


@dataclass(frozen=True, slots=True)
class ExploreOrder:
    """What is asked for.

    Attributes:
        key: File of the secret key.
        cap: Largest expected loss per day, in units of the currency.
        most_amount: Largest amount that may be let through, likewise.
        share: Wanted probability; it is lowered until the expected loss is within the cap.
        first_ms: Event time of the first decision, ms.
        end_ms: Event time after the last one, ms.
        exponent: Of the currency: minor units = units x 10^exponent.
        missed_share: Share of a fraud's amount that is lost.
        missed_fixed: Fixed cost of every fraud, in addition.
        precision: Assumed share of frauds among would-be BLOCKs; only for the number of days.

    Raises:
        SettingsError: A number is out of range.
    """

    key: Path
    cap: float
    most_amount: float
    share: float
    first_ms: int
    end_ms: int
    exponent: int = 2
    missed_share: float = 1.0
    missed_fixed: float = 0.0
    precision: float = 0.99

    def __post_init__(self) -> None:
        for name, low, high in (
            ("cap", 0.0, math.inf), ("most_amount", 0.0, math.inf), ("share", 0.0, 1.0),
            ("precision", 0.0, 1.0),
        ):  # fmt: skip
            if not low < getattr(self, name) < high:
                raise SettingsError(
                    f"rollout explore: {name} must be more than {low:g} and less than {high:g}"
                )
        if self.end_ms - self.first_ms < _DAY_MS:
            raise SettingsError("rollout explore: --from and --to must be a day apart at least")

    @property
    def days(self) -> float:
        """Number of days."""
        return (self.end_ms - self.first_ms) / _DAY_MS


@dataclass(frozen=True, slots=True, eq=False)
class WouldBeBlocks:
    """n decisions whose policy says BLOCK, in any order.

    Attributes:
        customer: uint64[n], hashes of the customers' ids.
        event_time: int64[n], ms.
        score: float64[n], none of them NaN.
        amount_minor: int64[n].
    """

    customer: NDArray[np.uint64]
    event_time: Int64
    score: Float64
    amount_minor: Int64

    def __len__(self) -> int:
        return len(self.customer)

    def take(self, rows: Any) -> "WouldBeBlocks":
        """Return some rows, in the given order."""
        return WouldBeBlocks(
            self.customer[rows], self.event_time[rows], self.score[rows], self.amount_minor[rows]
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the rows, whatever their order, in hex."""
        order = np.lexsort((self.score, self.amount_minor, self.customer, self.event_time))
        found = hashlib.sha256()
        for column in (self.customer, self.event_time, self.score, self.amount_minor):
            found.update(np.ascontiguousarray(column[order]).tobytes())
        return found.hexdigest()


def blocks_of(pieces: Iterable[pa.RecordBatch], order: ExploreOrder) -> tuple[WouldBeBlocks, int]:
    """Return the would-be BLOCKs of decisions in the range, and the number of all decisions.

    Args:
        pieces: Decisions, with the fields that are needed.
        order: What is asked for.

    Raises:
        SettingsError: They have several currencies.
    """
    found, currencies, count = [], set[str](), 0
    for records in pieces:
        time = np.asarray(records.column("event_time").cast(pa.int64()), np.int64)
        mine = (time >= order.first_ms) & (time < order.end_ms)
        count += int(np.count_nonzero(mine))
        policy = pc.coalesce(records.column("policy_outcome"), records.column("decision"))
        block = np.asarray(pc.equal(policy, Outcome.BLOCK.name).to_numpy(zero_copy_only=False))
        score = np.asarray(records.column("score"), np.float64)
        rows = np.flatnonzero(mine & block.astype(np.bool_) & ~np.isnan(score))
        taken = records.take(pa.array(rows))
        currencies |= set(pc.unique(taken.column("currency")).to_pylist())
        customer = hashes_of(taken.column("customer_id"))
        amount = np.asarray(taken.column("amount_minor"), np.int64)
        found.append((customer, time[rows], score[rows], amount))
    if len(currencies) > 1:
        named = ", ".join(sorted(map(str, currencies)))
        raise SettingsError(
            f"rollout explore: the decisions have several currencies: {named}",
            "compute the table from the decisions of one currency",
        )
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    if not joined or not len(joined[0]):
        raise SettingsError(
            f"rollout explore: none of {count} decisions is a BLOCK", "name another range"
        )
    return WouldBeBlocks(*joined), count


def table_of(blocks: WouldBeBlocks, order: ExploreOrder, key_digest: str) -> dict[str, Any]:
    """Return the plan's table ``explore``, with what it would have cost and found.

    Args:
        blocks: The would-be BLOCKs of the range.
        order: What is asked for.
        key_digest: Name of the key.

    Raises:
        SettingsError: No amount is small enough to be let through.
    """
    unit = minor_per_unit(order.exponent)
    inside = blocks.take(blocks.amount_minor <= order.most_amount * unit)
    if not len(inside):
        raise SettingsError(
            f"rollout explore: no would-be BLOCK has an amount of at most {order.most_amount:g}",
            "raise --max-amount",
        )
    loss = order.missed_share * in_units(inside.amount_minor, unit) + order.missed_fixed
    a_day = float(loss.sum()) / order.days
    share = order.share if a_day == 0 else min(order.share, order.cap / a_day)
    # Rounded down, so that the expected loss stays within the cap.
    digits = 6 - math.floor(math.log10(share)) - 1
    share = math.floor(share * 10**digits) / 10**digits
    expected = min(math.ceil(share * a_day * 100) / 100, order.cap)
    through = share * len(inside) / order.days
    return {
        "explore": {
            "key_digest": key_digest,
            "bands": [{"from": float(inside.score.min()), "p": share}],
            "max_amount": order.most_amount,
            "cap_per_day": order.cap,
            "expected_per_day": expected,
            "computed_from": inside.digest,
        },
        "days": order.days,
        "blocks": len(blocks),
        "blocks_inside": len(inside),
        "let_through_per_day": through,
        "worst_day": worst_day(inside, loss, share),
        "days_until_let_through": LEAST_LET_THROUGH / through,
        "days_until_genuine": LEAST_GENUINE / (through * (1 - order.precision)),
    }


def worst_day(blocks: WouldBeBlocks, loss: Float64, share: float) -> float:
    """Return the 99 % quantile of the loss of the worst day, by the normal approximation.

    A customer's transactions of a day pass together, so customer-days are the units of the draw.

    Args:
        blocks: n would-be BLOCKs that may be let through.
        loss: float64[n], what each of them would lose.
        share: Probability that a customer-day is let through.

    >>> one = WouldBeBlocks(np.array([1, 1, 2], np.uint64), np.array([0, 1, 2]), np.ones(3),
    ...                     np.array([1, 1, 1]))
    >>> round(worst_day(one, np.array([10.0, 10.0, 10.0]), 0.5), 2)
    41.01
    """
    day = blocks.event_time // _DAY_MS
    units, of = np.unique(np.stack([day.astype(np.uint64), blocks.customer]), axis=1,
                          return_inverse=True)  # fmt: skip
    sums = np.bincount(of.ravel(), loss)
    _, days = np.unique(units[0], return_inverse=True)
    mean = share * np.bincount(days.ravel(), sums)
    spread = np.sqrt(share * (1 - share) * np.bincount(days.ravel(), sums**2))
    return float((mean + _NINETY_NINE * spread).max())


def toml_of(table: dict[str, Any]) -> str:
    """Return the table as the fragment of a plan.

    >>> print(toml_of({"key_digest": "00", "bands": [{"from": 0.5, "p": 0.01}], "cap_per_day": 5.0,
    ...     "max_amount": 9.0, "expected_per_day": 1.5, "computed_from": "00"}).splitlines()[2])
    bands = [{from = 0.5, p = 0.01}]
    """
    bands = ", ".join(f"{{from = {each['from']!r}, p = {each['p']!r}}}" for each in table["bands"])
    lines = ["[shared.explore]", f'key_digest = "{table["key_digest"]}"', f"bands = [{bands}]"]
    lines += [f"{name} = {table[name]!r}"
              for name in ("max_amount", "cap_per_day", "expected_per_day")]  # fmt: skip
    return "\n".join([*lines, f'computed_from = "{table["computed_from"]}"', ""])


def key_digest_of(file: Path) -> str:
    """Return the name of a secret key's file in plans.

    Raises:
        SettingsError: It is not there, not private, or too short.
    """
    key = read_secret(file, f"key {file}")
    if len(key) < KEY_BYTES_LEAST:
        raise SettingsError(
            f"key {file}: has {len(key)} bytes, fewer than {KEY_BYTES_LEAST}",
            "write 32 random bytes or more to the file",
        )
    return explore_digest(key)


def explored(settings: Settings, order: ExploreOrder) -> dict[str, Any]:
    """Read the decisions topic to its present end, and return the table and what it costs.

    Args:
        settings: The cluster, the topic and the registry.
        order: What is asked for.

    Raises:
        SettingsError: The topic does not exist, or the decisions do not answer the question.
        UnavailableError: Broker or registry do not answer.
    """
    digest = key_digest_of(order.key)
    blocks, count = blocks_of(_decisions(settings), order)
    return {**table_of(blocks, order, digest), "decisions": count}


def _decisions(settings: Settings) -> Iterator[pa.RecordBatch]:
    schema = narrowed(
        reader_schema("decision.v3", settings.registry.directory), _FIELDS.__contains__
    )
    decoder = ColumnDecoder(open_registry(settings.registry), schema, UNLIMITED, same_name=True)
    reader = TopicFollower(settings.kafka, settings.kafka.topics.decisions, "explore")
    try:
        reader.mark_end()
        while reader.left:
            if (raw := reader.poll_to_end(_RECORDS, _POLL_SECONDS)) is not None:
                yield read_patiently(partial(decoder.decode, raw.values)).records
    finally:
        reader.close()
