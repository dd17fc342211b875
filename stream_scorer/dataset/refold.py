"""Features that no decision recorded: computed from the input, by the code that ``train`` uses.

Each record is decoded and validated as a scorer does it. A terminal's history has the labels that
were known when its row was due, by the same rule as in training. Of blocked transactions without a
label nothing is known, if the plan has a policy for labels.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.core.mapping.mapping import BASE_AMOUNT
from stream_scorer.core.terminals.columns import match_of
from stream_scorer.dataset.blocked import NONE_BLOCKED, places_of
from stream_scorer.dataset.statements import KnownStatements
from stream_scorer.errors import SettingsError
from stream_scorer.ports import RawRecords
from stream_scorer.training.fold import fold

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]
UInt64 = NDArray[np.uint64]

ROWS_MOST: Final = 20_000_000
"""Maximum number of transactions of the range and of its history: they are folded in memory."""
_READ: Final = ("transaction_id", "event_time", "customer_id", "terminal_id", "amount_minor",
                "currency", BASE_AMOUNT)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RefoldedFeatures:
    """Features of transactions, by their place in the input.

    Attributes:
        places: uint64[a], of accepted transactions, ascending; see ``blocked.places_of``.
        row: int64[a], their rows of ``features``.
        features: float64[a, m].
    """

    places: UInt64
    row: Int64
    features: Float64

    def of(self, partition: Int64, offset: Int64) -> tuple[Float64, Bool]:
        """Return float64[n, m] and bool[n]: features of transactions, and whether they are known.

        Args:
            partition: int64[n], of the input.
            offset: int64[n], there.
        """
        wanted = places_of(partition, offset)
        at = np.searchsorted(self.places, wanted)
        known = np.append(self.places, np.uint64(0))[at] == wanted
        known &= at < len(self.places)
        found = np.zeros((len(wanted), self.features.shape[1]))
        found[known] = self.features[self.row[at[known]]]
        return found, known


@dataclass(frozen=True, slots=True)
class FoldedInput:
    """Accepted transactions of the input with their features; a rows, one partition after another.

    Attributes:
        table: The transactions of the range, with those that were rejected.
        rows: int64[a], the accepted ones.
        places: uint64[a], their places in the input; see ``blocked.places_of``.
        features: float64[a, m].
        count: Number of records of the range, with those that were rejected.
        rejected: How many of them were rejected, by reason.
    """

    table: pa.Table
    rows: Int64
    places: UInt64
    features: Float64
    count: int
    rejected: dict[str, int]


def refold(
    records: Iterable[RawRecords],
    decoders: EventDecoders,
    features: FeatureSet,
    plan: Plan,
    statements: KnownStatements,
    bounds_ms: tuple[int, int],
    blocked: UInt64 = NONE_BLOCKED,
) -> RefoldedFeatures:
    """Return features of the transactions of the input; arguments as for :func:`fold_input`."""
    found = fold_input(records, decoders, features, plan, statements, bounds_ms, blocked=blocked)
    if found is None:
        return RefoldedFeatures(
            np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, len(features.names)))
        )
    order = np.argsort(found.places)
    return RefoldedFeatures(found.places[order], order, found.features)


def fold_input(
    records: Iterable[RawRecords],
    decoders: EventDecoders,
    features: FeatureSet,
    plan: Plan,
    statements: KnownStatements,
    bounds_ms: tuple[int, int],
    columns: Iterable[str] = (),
    blocked: UInt64 = NONE_BLOCKED,
) -> FoldedInput | None:
    """Return the transactions of the input with their features.

    Args:
        records: The input, each partition's records in order.
        decoders: Decode them.
        features: What is computed.
        plan: Its mapping, its limits, the delay of terminals, and the policy for labels.
        statements: What was known about the transactions.
        bounds_ms: First event time of the range and end of it, exclusive, ms. Before it, only the
            history that the features need is read.
        columns: Further columns of the table, where the events have them.
        blocked: uint64[b], ascending, places of the transactions that were blocked; see
            ``blocked.read_blocked``.

    Returns:
        None if the input has no transaction of the range or its history.

    Raises:
        SettingsError: There are more transactions than memory is planned for.
    """
    first = bounds_ms[0] - _history_ms(features)
    read = [*dict.fromkeys([*_READ, *features.reads, *columns])]
    tables: list[pa.Table] = []
    places: list[UInt64] = []
    count, undecodable = 0, Counter[str]()
    for raw in records:
        events, _, rejections = decoders.decode(raw, plan, {})
        time = events.int64("event_time")
        rows = np.flatnonzero((time >= first) & (time < bounds_ms[1]))
        if len(rows) * 2 > len(time):
            # Such a record has no event time: its neighbours' counts.
            undecodable.update(reason.value for reason in rejections.reasons)
        if not len(rows):
            continue
        some = events.records.take(pa.array(rows))
        kept = [name for name in read if name in some.schema.names]
        tables.append(pa.Table.from_batches([some]).select(kept))
        places.append(places_of(events.partition[rows].astype(np.int64), events.offset[rows]))
        count += len(rows)
        if count > ROWS_MOST:
            raise SettingsError(
                f"dataset: more than {ROWS_MOST:,} transactions to fold",
                "choose a shorter range, or leave --features out: recorded ones are not folded",
            )
    if not tables:
        return None
    table = pa.concat_tables(tables)
    place = np.concatenate(places)
    out = np.isin(place, blocked)
    folded = fold(table, features, plan, _risk_states(table, plan, statements, out))
    return FoldedInput(
        table, folded.rows, place[folded.rows], folded.features,
        count + undecodable.total(), dict(undecodable + Counter(folded.rejected)),
    )  # fmt: skip


def _history_ms(features: FeatureSet) -> int:
    """Return how much earlier input the features need, ms."""
    engine = features.engine
    return int(engine.retention.horizon_ms) + int(engine.delayed.longest_ms)


def _risk_states(
    table: pa.Table, plan: Plan, statements: KnownStatements, blocked: Bool
) -> UInt8:  # fmt: skip
    """Return uint8[n]: what transactions counted as when their terminal's row was due."""
    policy = LabelPolicy.of(read_label_policy(plan.label_policy))
    found = np.zeros(len(table), np.uint8)
    hold = plan.terminal_delay_ms - plan.terminal_slack_ms
    first = 0
    for batch in table.select(["transaction_id", "customer_id", "event_time"]).to_batches():
        time = np.asarray(batch.column("event_time").cast(pa.int64()), np.int64)
        match = match_of(batch, time, plan.label_identity)
        state = statements.resolve(match, time, time + hold, policy).state
        rows, age = slice(first, first + len(batch)), np.full(len(batch), hold)
        found[rows] = policy.settle(state, blocked[rows], age, risk=True)
        first += len(batch)
    return found
