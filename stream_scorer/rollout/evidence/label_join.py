"""The delayed join: matured decisions with what their labels state.

Decisions wait for their labels in one SQLite file, and so do labels that arrive before their
decision. A decision *matures*, once, when the watermark of event time has passed its event time by
the maturity and a slack. What it turned out to be follows from all statements that were known at
its maturity (:mod:`~stream_scorer.core.labelling.resolve`) and from the plan's label policy; the
slack is for labels that were known in time and arrive late. A blocked decision without a label is
unknown, as soon as the plan has a label policy.

The next offsets of the topics are stored in the same SQLite transaction as the changes that their
records made. So a crash loses nothing and repeats nothing. A row that arrives twice, by its source
coordinate, is stored once.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.closing import Closing
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import MOST_STATEMENTS, LabelPolicy, Statements
from stream_scorer.core.labelling.resolve import resolve
from stream_scorer.errors import StateError
from stream_scorer.rollout.evidence.label_rows import (
    PendingDecisions,
    Ripe,
    statement_tuples,
    statements_read,
)
from stream_scorer.rollout.evidence.label_tables import FORMAT, ROWS, create
from stream_scorer.sqlite_errors import sqlite_errors

Int64 = NDArray[np.int64]

_MINUTE_MS: Final = 60_000
_BEGINNING: Final = -(2**62)
_COLUMNS: Final = (
    "event_time, partition, offset, key, arm, bucket, amount, outcome, shadow, policy_outcome, "
    "propensity, inside"
)
_ADD: Final = f"INSERT OR IGNORE INTO pending ({_COLUMNS}) VALUES ({', '.join('?' * 12)})"  # noqa: S608 names of ours
_MATURE: Final = (
    f"SELECT {_COLUMNS} FROM pending WHERE event_time <= ?"  # noqa: S608 likewise
    " ORDER BY event_time, partition, offset"
)
_STATED: Final = """SELECT * FROM statements
    WHERE key IN (SELECT key FROM pending WHERE event_time <= ?)"""
_CROWDED: Final = """SELECT key FROM statements
    WHERE key IN (SELECT value FROM json_each(?)) GROUP BY key HAVING count(*) > ?"""


@dataclass(slots=True)
class Passed:
    """Numbers of rows that were left out.

    Attributes:
        full: Decisions that arrived when the maximum number was waiting, or that were in the
            latest minutes when more than the maximum number were stored.
        full_labels: Labels that arrived when the maximum number was stored.
        late_labels: Labels that arrived after their decision had matured.
        after_cutoff: Labels that became known only after the maturity.
    """

    full: int = 0
    full_labels: int = 0
    late_labels: int = 0
    after_cutoff: int = 0


class LabelJoin(Closing):
    """Decisions that wait for their labels, in one file, which one process at a time can open.

    Changes are stored by :meth:`commit`; :meth:`rollback` undoes those since the last commit. Only
    the thread that opened the file uses it.

    Args:
        path: The file, which is created if it does not exist; None: only in memory.
        identity: The rollout of the rows. A file of another rollout is emptied, but keeps its
            offsets.
        maturity_ms: Age of a decision up to which labels must be known.
        slack_ms: Additional time for labels that were known in time to arrive.
        most_rows: Maximum number of waiting decisions, of labels, and of minutes of decisions that
            need no label.
        by_time: Whether labels have the event times of their transactions. If not, it is known only
            at maturity which of them were known in time.
        policy: What a decision without a label counts as; the ranks are in the statements.

    Attributes:
        passed: Numbers of rows that were left out since the last :meth:`take_passed`.

    Raises:
        StateError: The file is damaged, of another format, or another process has it.
        UnavailableError: It cannot be opened or written.
    """

    def __init__(
        self, path: Path | None, identity: str, maturity_ms: int, slack_ms: int, most_rows: int,
        *, by_time: bool = True, policy: LabelPolicy | None = None,
    ) -> None:  # fmt: skip
        if min(maturity_ms, slack_ms) < 0 or most_rows < 1:
            raise ValueError("maturity and slack must be 0 or more, most_rows at least 1")
        self._path = path
        self._maturity = maturity_ms
        self._horizon = maturity_ms + slack_ms
        self._most = most_rows
        self._by_time = by_time
        self._policy = LabelPolicy.absent() if policy is None else policy
        self.passed = Passed()
        self._pending = self._labels = self._minutes = 0
        self._edge = _BEGINNING
        with self._telling():
            self._base = sqlite3.connect(
                ":memory:" if path is None else path, timeout=1.0, isolation_level=None
            )
        try:
            self._open(identity)
        except BaseException:
            self._base.close()
            raise

    def _open(self, identity: str) -> None:
        with self._telling():
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            # A commit survives a crash of the process. After a crash of the machine the file is
            # valid, but its last commits may be missing.
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.execute("BEGIN EXCLUSIVE")
            if (strange := create(self._base)) is not None:
                raise StateError(
                    f"{self._path}: is of format {strange}, and this program reads {FORMAT}",
                    "start the program that wrote it, or remove the file: "
                    "evidence starts from zero",
                )
            told = self.note("identity")
            if told is not None and told != identity.encode():
                for table in ROWS:
                    self._base.execute(f"DELETE FROM {table}")  # noqa: S608 names of ours
            self._note("format", FORMAT.encode())
            self._note("identity", identity.encode())
            self._base.execute("COMMIT")
        self._look()

    def __len__(self) -> int:
        """Return how many decisions wait."""
        return self._pending

    @property
    def labels(self) -> int:
        """How many labels are kept."""
        return self._labels

    def take_passed(self) -> Passed:
        """Return the numbers of rows that were left out since the last call."""
        passed, self.passed = self.passed, Passed()
        return passed

    # -- notes and offsets -------------------------------------------------------------------

    def note(self, name: str) -> bytes | None:
        """Return the bytes that are stored under a name, or None."""
        found = self._base.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if found is None else bytes(found[0])

    def places(self) -> dict[tuple[str, int], int]:
        """Return the next offset by topic and partition, as of the last commit."""
        with self._telling():
            rows = self._base.execute("SELECT topic, partition, next_offset FROM places")
            return {(topic, partition): offset for topic, partition, offset in rows}

    def commit(
        self, places: Mapping[tuple[str, int], int], notes: Mapping[str, bytes] | None = None
    ) -> None:
        """Store all changes since the last commit, with the topics' offsets and notes.

        Args:
            places: Next offset by topic and partition.
            notes: Bytes by name.

        Raises:
            UnavailableError: It cannot be written; nothing is stored.
        """
        with self._telling():
            self._begin()
            self._base.executemany(
                "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
                [(topic, partition, offset) for (topic, partition), offset in places.items()],
            )
            for name, value in (notes or {}).items():
                self._note(name, value)
            self._note("edge", b"%d" % self._edge)
            self._base.execute("COMMIT")

    def rollback(self) -> None:
        """Undo all changes since the last commit."""
        with self._telling():
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
        self._look()

    def close(self) -> None:
        """Undo what is not committed, and close the file."""
        self._base.close()

    # -- rows --------------------------------------------------------------------------------

    def wait(self, rows: PendingDecisions) -> None:
        """Add decisions; those beyond the maximum number are counted and left out."""
        room = self._most - self._pending
        if len(rows) > room:
            self.passed.full += len(rows) - max(room, 0)
            rows = rows.take(slice(0, max(room, 0)))
        if not len(rows):
            return
        with self._telling():
            self._begin()
            added = self._base.executemany(_ADD, rows.tuples())
            self._pending += added.rowcount

    def pass_by(self, event_time: Int64) -> None:
        """Count decisions that need no label, by minute; :meth:`mature` returns them as ``others``.

        If there are more minutes than the maximum number, the latest are left out, and their
        decisions are counted as ``passed.full``.

        Args:
            event_time: int64[n], ms.
        """
        ends = event_time // _MINUTE_MS * _MINUTE_MS + _MINUTE_MS - 1
        times, counts = np.unique(ends, return_counts=True)
        with self._telling():
            self._begin()
            added = self._base.executemany(
                "INSERT OR IGNORE INTO others VALUES (?, 0)", [(each,) for each in times.tolist()]
            )
            self._base.executemany(
                "UPDATE others SET count = count + ? WHERE event_time = ?",
                zip(counts.tolist(), times.tolist(), strict=True),
            )
            self._minutes += max(added.rowcount, 0)
            if self._minutes > self._most:
                self._drop_latest(self._minutes - self._most)

    def _drop_latest(self, surplus: int) -> None:
        """Leave out the decisions of the latest minutes: a forged one may never mature."""
        latest = "SELECT event_time FROM others ORDER BY event_time DESC LIMIT ?"
        gone = self._base.execute(
            f"DELETE FROM others WHERE event_time IN ({latest}) RETURNING count",  # noqa: S608 ours
            (surplus,),
        ).fetchall()
        self._minutes -= len(gone)
        self.passed.full += sum(count for (count,) in gone)

    def learn(self, labels: Statements) -> None:
        """Add statements; those beyond the maximum number are counted and left out.

        Of one transaction, as many are kept as :func:`resolve` considers: those of the highest
        rank, of these the first in time.
        """
        late = labels.event_time + self._horizon <= self._edge
        after = ~late & (labels.label_time > labels.event_time + self._maturity)
        self.passed.late_labels += int(late.sum())
        self.passed.after_cutoff += int(after.sum())
        told = labels.take(np.flatnonzero(~late & ~after))
        room = max(self._most - self._labels, 0)
        self.passed.full_labels += max(len(told) - room, 0)
        told = told.take(np.arange(min(room, len(told))))
        if not len(told):
            return
        with self._telling():
            self._begin()
            added = self._base.executemany(
                "INSERT OR IGNORE INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                statement_tuples(told),
            )
            self._labels += max(added.rowcount, 0)
            keys = json.dumps(np.unique(told.match.view(np.int64)).tolist())
            for (key,) in self._base.execute(_CROWDED, (keys, MOST_STATEMENTS)).fetchall():
                self._thin(key)

    def _thin(self, key: int) -> None:
        """Delete the statements of a transaction that :func:`resolve` would ignore."""
        rows = self._base.execute("SELECT * FROM statements WHERE key = ?", (key,)).fetchall()
        found = statements_read(rows)
        order = np.lexsort(
            (found.offset, found.partition, found.label_time, -1 * found.rank.astype(np.int64))
        )
        met, kept = set[tuple[int, int]](), 0
        for row in order.tolist():
            named = (int(found.label_id[row]), int(found.label_time[row]))
            again = named[0] != 0 and named in met
            met.add(named)
            kept += not again
            if again or kept > MOST_STATEMENTS:
                self._base.execute(
                    "DELETE FROM statements"
                    " WHERE key = ? AND label_time = ? AND partition = ? AND offset = ?",
                    (key, named[1], int(found.partition[row]), int(found.offset[row])),
                )
                self._labels -= 1

    def mature(self, watermark: int) -> Ripe:
        """Return the decisions that have matured, and delete them.

        Args:
            watermark: Of event time, ms; a lower one than before has no effect.
        """
        self._edge = max(self._edge, watermark)
        until = self._edge - self._horizon
        with self._telling():
            self._begin()
            rows = self._base.execute(_MATURE, (until,)).fetchall()
            stated = self._base.execute(_STATED, (until,)).fetchall() if rows else []
            (others,) = self._base.execute(
                "SELECT coalesce(sum(count), 0) FROM others WHERE event_time <= ?", (until,)
            ).fetchone()
            self._pending -= self._forget("pending", until)
            self._labels -= self._forget("statements", until)
            self._minutes -= self._forget("others", until)
        return self._settled(PendingDecisions.read(rows), statements_read(stated), others)

    def _settled(self, rows: PendingDecisions, stated: Statements, others: int) -> Ripe:
        """Return matured decisions with what they turned out to be."""
        time = rows.event_time
        found = resolve(
            stated, rows.key, time + self._maturity, event_time=None if self._by_time else time
        )
        state = self._policy.settle(
            found.state, rows.outcome == Outcome.BLOCK, np.full(len(rows), self._maturity),
            risk=False,
        )  # fmt: skip
        return Ripe(
            time, rows.arm, rows.bucket, rows.amount, rows.outcome, rows.shadow,
            rows.policy_outcome, rows.propensity, rows.inside, state, others,
        )  # fmt: skip

    def _forget(self, table: str, until: int) -> int:
        gone = self._base.execute(
            f"DELETE FROM {table} WHERE event_time <= ?",  # noqa: S608 a name of ours
            (until,),
        )
        return gone.rowcount

    # -- the file ----------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._base.in_transaction:
            self._base.execute("BEGIN IMMEDIATE")

    def _note(self, name: str, value: bytes) -> None:
        self._base.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def _size(self, table: str) -> int:
        (count,) = self._base.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 a name of ours
        return int(count)

    def _look(self) -> None:
        """Read the numbers of rows, and the last watermark."""
        with self._telling():
            self._pending, self._labels = self._size("pending"), self._size("statements")
            self._minutes = self._size("others")
            self._edge = int(self.note("edge") or _BEGINNING)

    def _telling(self) -> AbstractContextManager[None]:
        return sqlite_errors(self._path, "controller.state", "evidence starts from zero")
