"""What a transaction turned out to be: one answer from all statements about it.

The answer at a cut-off is a function of the *set* of statements. Their order does not matter, and a
record that arrives twice changes nothing:

1. A statement counts if it was known at the cut-off. If labels do not name event times, the
   transaction must also not be later than the statement allows.
2. Of records with one id and one label time, the first one (partition, offset) is kept. At
   most 32 statements of a transaction are considered: those of the highest rank, of these the first
   in time.
3. Of statements with one id, the first record counts. Other ones contradict it, and are not used.
4. A statement does not count if a later one of its source retracts it. Later means a larger label
   time; at equal times, retractions are later than what they retract, and a further record is later
   than an earlier one. A retraction that is itself retracted has no effect.
5. Of the rest, the one with the largest (rank of its source, label time, partition, offset) counts.

Example: the bank (rank 2) reports a chargeback on day 20, the customer (rank 1) says on day 30 that
it was a mistake. On day 25 and on day 40 it is a fraud, since a better source beats a newer one. If
the bank retracts its statement on day 35, it is genuine on day 40.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import (
    MOST_STATEMENTS,
    NO_LABEL,
    Bool,
    Int64,
    Resolved,
    Statements,
    UInt8,
    UInt64,
)

_PAIRS: Final = 2**20
"""About how many pairs of transaction and statement are held in memory at a time."""
_NONE: Final = -1


def resolve(
    statements: Statements, wanted: UInt64, cutoff: Int64, *, event_time: Int64 | None = None
) -> Resolved:
    """Return what transactions turned out to be, each at its cut-off.

    The work grows with m log m + n, however many statements and rows name one transaction.

    Args:
        statements: m statements in any order. Point in time: give only those whose records had
            arrived.
        wanted: uint64[n], hashes of the transactions, as ``statements.match``; a hash may be there
            more than once.
        cutoff: int64[n], ms; a statement with this label time is still known.
        event_time: int64[n], event times of the transactions, ms, if labels do not name them: a
            statement with an earlier ``event_time`` is not about the transaction. It must depend on
            the label time alone and grow with it, as ``core.terminals.columns.kept_until`` does.
            None: labels name the event times, and the hashes contain them.
    """
    kept = _prepare(statements)
    found = Resolved(
        np.full(len(wanted), NO_LABEL, np.uint8),
        np.zeros(len(wanted), np.int64),
        np.full(len(wanted), np.nan),
        np.zeros(len(wanted), np.int64),
        kept.contradictions,
        kept.ignored,
    )
    of_group = kept.table.match[kept.begins]
    first = np.searchsorted(of_group, wanted, side="left").astype(np.int64)
    count = np.searchsorted(of_group, wanted, side="right").astype(np.int64) - first
    # Rows without a statement need no pair.
    named = np.flatnonzero(count)
    pieces = np.cumsum(count[named]) * MOST_STATEMENTS // _PAIRS
    for rows in np.split(named, np.flatnonzero(np.diff(pieces)) + 1) if len(named) else []:
        least = None if event_time is None else event_time[rows]
        _resolve_rows(kept, found, rows, first[rows], count[rows], cutoff[rows], least)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Statements that may count at some cut-off, in groups of one transaction and rank.

    Attributes:
        table: k statements, ordered by match, falling rank, label time, partition, offset.
        begins: int64[g], the first statement of each group.
        ends: int64[g], the end of each group.
        worth: int64[k], their places in the order of rank, label time, partition, offset; unique.
        statement: int64[k], the statement of each place.
        repeated: Whether an id of a transaction is there more than once.
        contradictions: As of :class:`Resolved`.
        ignored: Likewise.
    """

    table: Statements
    begins: Int64
    ends: Int64
    worth: Int64
    statement: Int64
    repeated: bool
    contradictions: int
    ignored: int


def _prepare(given: Statements) -> _Kept:
    """Return the statements that may count, whatever the cut-off."""
    # Each record once.
    table = given.take(np.lexsort((given.offset, given.partition, given.match)))
    table = table.take(_begins(table.match, table.partition, table.offset))
    contradictions = _contradictions(table)
    # For one id and label time, only the first record may count.
    table = table.take(
        np.lexsort((table.offset, table.partition, table.label_time, table.label_id, table.match))
    )
    again = ~_begins(table.match, table.label_id, table.label_time) & (table.label_id != 0)
    table = table.take(~again)
    repeated = bool((~_begins(table.match, table.label_id) & (table.label_id != 0)).any())
    total = np.diff(np.flatnonzero(_begins(table.match)), append=len(table))
    falling = -table.rank.astype(np.int16)
    table = table.take(
        np.lexsort((table.offset, table.partition, table.label_time, falling, table.match))
    )
    begins = np.flatnonzero(_begins(table.match, table.rank))
    order = np.lexsort((table.offset, table.partition, table.label_time, table.rank))
    worth = np.empty(len(table), np.int64)
    worth[order] = np.arange(len(table))
    return _Kept(
        table, begins, np.append(begins[1:], len(table))[: len(begins)], worth, order, repeated,
        contradictions, int(np.maximum(total - MOST_STATEMENTS, 0).sum()),
    )  # fmt: skip


def _contradictions(table: Statements) -> int:
    """Return how many statements say something else than the first record of their id.

    Args:
        table: Statements, each record once.
    """
    rows = table.take(np.lexsort((table.offset, table.partition, table.label_id, table.match)))
    begins = _begins(rows.match, rows.label_id)
    first = np.flatnonzero(begins)[np.cumsum(begins) - 1] if len(rows) else np.zeros(0, np.int64)
    drawn = rows.drawn
    same_draw = (drawn == drawn[first]) | (np.isnan(drawn) & np.isnan(drawn[first]))
    same = (
        (rows.state == rows.state[first])
        & (rows.label_time == rows.label_time[first])
        & (rows.retracts == rows.retracts[first])
        & same_draw
    )
    return int(np.count_nonzero(~same & (rows.label_id != 0)))


def _resolve_rows(
    kept: _Kept,
    found: Resolved,
    rows: Int64,
    first: Int64,
    count: Int64,
    cutoff: Int64,
    event_time: Int64 | None,
) -> None:
    """Write the answers of some rows.

    Args:
        kept: The statements.
        found: Of all rows; changed in place.
        rows: int64[r], indices of the rows.
        first: int64[r], the first group of each row.
        count: int64[r], the number of its groups.
        cutoff: int64[r], ms.
        event_time: int64[r], ms; None: not compared.
    """
    table = kept.table
    row, group = _ranges(first, count)
    low, high = kept.begins[group], kept.ends[group]
    if event_time is not None:
        low = _lower_bounds(table.event_time, low, high, event_time[row])
    # Of one rank only the first 32 in time may be among the first 32 of all.
    owner, at = _ranges(low, np.minimum(high - low, MOST_STATEMENTS))
    row = row[owner]
    known = table.label_time[at] <= cutoff[row]
    row, at = row[known], at[known]
    considered = _place(_begins(row)) < MOST_STATEMENTS
    row, at = row[considered], at[considered]
    if kept.repeated:
        firsts = _first_of_ids(table, row, at)
        row, at = row[firsts], at[firsts]
    found.statements[rows] = np.bincount(row, minlength=len(rows))
    retracting = table.retracts[at] != 0
    valid = ~retracting
    if retracting.any():
        valid &= ~_retracted(table, row, at)
    row, at = row[valid], at[valid]
    best = _best(kept, row, at, len(rows))
    named = best >= 0
    found.state[rows[named]] = table.state[best[named]]
    found.label_time[rows[named]] = table.label_time[best[named]]
    by_draw = ~np.isnan(table.drawn[at])
    best = _best(kept, row[by_draw], at[by_draw], len(rows))
    named = best >= 0
    found.drawn[rows[named]] = table.drawn[best[named]]


def _best(kept: _Kept, row: Int64, at: Int64, rows: int) -> Int64:
    """Return int64[rows]: the statement of the largest worth of each row, or -1.

    Args:
        kept: The statements.
        row: int64[p], of each pair, ascending.
        at: int64[p], its statement.
        rows: Number of rows.
    """
    best = np.full(rows, _NONE, np.int64)
    if len(row):
        begins = np.flatnonzero(_begins(row))
        largest = np.maximum.reduceat(kept.worth[at], begins)
        best[row[begins]] = kept.statement[largest]
    return best


def _first_of_ids(table: Statements, row: Int64, at: Int64) -> Bool:
    """Return bool[p]: pairs whose statement has no id, or is the first record of its id.

    Args:
        table: k statements.
        row: int64[p], of each pair.
        at: int64[p], its statement.
    """
    named = table.label_id[at]
    order = np.lexsort((table.offset[at], table.partition[at], named, row))
    again = ~_begins(row[order], named[order]) & (named[order] != 0)
    first = np.empty(len(row), np.bool_)
    first[order] = ~again
    return first


def _retracted(table: Statements, row: Int64, at: Int64) -> Bool:
    """Return bool[p]: pairs whose statement a later one retracts that is not retracted itself.

    Args:
        table: k statements.
        row: int64[p], of each pair, ascending; each has at most 32.
        at: int64[p], its statement.
    """
    gone = np.zeros(len(row), np.bool_)
    retracts = table.retracts[at]
    # Only rows with a retraction.
    mine = np.flatnonzero(np.isin(row, row[retracts != 0]))
    order = np.lexsort(
        (
            table.offset[at[mine]], table.partition[at[mine]], retracts[mine] != 0,
            table.label_time[at[mine]], row[mine],
        )
    )  # fmt: skip
    mine = mine[order]
    begins = _begins(row[mine])
    line, place = np.cumsum(begins) - 1, _place(begins)
    # A table with a line for each row and a column for each statement, the latest one last.
    shape = (int(line[-1]) + 1, int(place.max()) + 1)
    named, taken_back = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    named[line, place], taken_back[line, place] = table.label_id[at[mine]], retracts[mine]
    dropped = np.zeros(shape, np.bool_)
    for column in range(shape[1] - 2, -1, -1):
        identity = named[:, column : column + 1]
        later = (taken_back[:, column + 1 :] == identity) & ~dropped[:, column + 1 :]
        dropped[:, column] = (later & (identity != 0)).any(axis=1)
    gone[mine] = dropped[line, place]
    return gone


def _begins(*columns: UInt64 | Int64 | UInt8 | NDArray[np.int32]) -> Bool:
    """Return bool[n]: rows that differ from the row before in one of some columns."""
    begins = np.zeros(len(columns[0]), np.bool_)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return begins


def _ranges(first: Int64, count: Int64) -> tuple[Int64, Int64]:
    """Return int64[p], int64[p]: the number of each range, and its values one after the other.

    Args:
        first: int64[n], the first value of each range.
        count: int64[n], the number of its values.
    """
    owner = np.repeat(np.arange(len(count)), count)
    values = np.arange(len(owner)) - (np.cumsum(count) - count)[owner] + first[owner]
    return owner, values


def _lower_bounds(values: Int64, low: Int64, high: Int64, least: Int64) -> Int64:
    """Return int64[n]: in each range, the first index whose value is not below its least one.

    Args:
        values: int64[k]; they do not fall within a range.
        low: int64[n], begins of the ranges.
        high: int64[n], ends of the ranges.
        least: int64[n].
    """
    while (left := low < high).any():
        middle = (low + high) // 2
        below = left & (values[np.where(left, middle, 0)] < least)
        low, high = np.where(below, middle + 1, low), np.where(left & ~below, middle, high)
    return low


def _place(begins: Bool) -> Int64:
    """Return int64[n]: the place of each row in its group, from 0.

    Args:
        begins: bool[n], the first rows of groups.
    """
    rows = np.arange(len(begins))
    return rows - np.maximum.accumulate(np.where(begins, rows, 0))
