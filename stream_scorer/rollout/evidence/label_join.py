"""The delayed join: matured decisions with their fraud labels.

Decisions wait for their labels in one SQLite file, and so do labels that arrive before their
decision. A decision *matures*, once, when the watermark of event time has passed its event time by
the maturity and a slack. It gets the last label that was known at its maturity; the slack is for
labels that were known in time and arrive late. A decision without a label counts as genuine.

The next offsets of the topics are stored in the same SQLite transaction as the changes that their
records made. So a crash loses nothing and repeats nothing. A row that arrives twice, by its source
coordinate, is stored once.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.closing import Closing
from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.rollout.evidence.label_rows import LabelColumns, PendingDecisions, Ripe

Int64 = NDArray[np.int64]

_FORMAT: Final = "1"
_ROWS_AT_ONCE: Final = 20_000
_MINUTE_MS: Final = 60_000
_BEGINNING: Final = -(2**62)
_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS pending (
        event_time INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        key INTEGER NOT NULL, arm INTEGER NOT NULL, bucket INTEGER NOT NULL, amount REAL NOT NULL,
        outcome INTEGER NOT NULL, shadow INTEGER NOT NULL,
        PRIMARY KEY (event_time, partition, offset)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS labels (
        key INTEGER PRIMARY KEY, event_time INTEGER NOT NULL, label_time INTEGER NOT NULL,
        partition INTEGER NOT NULL, offset INTEGER NOT NULL, fraud INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS labels_by_time ON labels (event_time)",
    """CREATE TABLE IF NOT EXISTS dated_labels (
        key INTEGER NOT NULL, event_time INTEGER NOT NULL, label_time INTEGER NOT NULL,
        partition INTEGER NOT NULL, offset INTEGER NOT NULL, fraud INTEGER NOT NULL,
        PRIMARY KEY (key, label_time, partition, offset)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS dated_labels_by_time ON dated_labels (event_time)",
    "CREATE TABLE IF NOT EXISTS others (event_time INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS places (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
)
_LEARN: Final = """INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    event_time = excluded.event_time, label_time = excluded.label_time,
    partition = excluded.partition, offset = excluded.offset, fraud = excluded.fraud
    WHERE (excluded.label_time, excluded.partition, excluded.offset)
        > (label_time, partition, offset)"""
_MATURE: Final = """SELECT p.event_time, p.arm, p.bucket, p.amount, p.outcome, p.shadow,
        coalesce(l.fraud, 0)
    FROM pending p LEFT JOIN labels l ON l.key = p.key AND l.label_time <= p.event_time + ?
    WHERE p.event_time <= ? ORDER BY p.event_time, p.partition, p.offset"""
_MATURE_DATED: Final = """SELECT p.event_time, p.arm, p.bucket, p.amount, p.outcome, p.shadow,
        coalesce((SELECT l.fraud AND l.event_time >= p.event_time FROM dated_labels l
            WHERE l.key = p.key AND l.label_time <= p.event_time + ?
            ORDER BY l.label_time DESC, l.partition DESC, l.offset DESC LIMIT 1), 0)
    FROM pending p WHERE p.event_time <= ? ORDER BY p.event_time, p.partition, p.offset"""
"""Of the labels in time, the last one is kept longest. So one look-up per decision is enough: a
search for one that is kept long enough would pass all labels of a transaction."""


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

    Changes are stored by :meth:`commit`; :meth:`rollback` undoes those since the last commit.

    Args:
        path: The file, which is created if it does not exist; None: only in memory.
        identity: The rollout of the rows. A file of another rollout is emptied, but keeps its
            offsets.
        maturity_ms: Age of a decision up to which labels must be known.
        slack_ms: Additional time for labels that were known in time to arrive.
        most_rows: Maximum number of waiting decisions, of labels, and of minutes of decisions that
            need no label.
        by_time: Whether labels have the event times of their transactions. If not, it is known only
            at maturity which of them were known in time, so all are stored until then.

    Attributes:
        passed: Numbers of rows that were left out since the last :meth:`take_passed`.

    Raises:
        StateError: The file is damaged, of another format, or another process has it.
        UnavailableError: It cannot be opened or written.
    """

    def __init__(
        self, path: Path | None, identity: str, maturity_ms: int, slack_ms: int, most_rows: int,
        *, by_time: bool = True,
    ) -> None:  # fmt: skip
        if min(maturity_ms, slack_ms) < 0 or most_rows < 1:
            raise ValueError("maturity and slack must be 0 or more, most_rows at least 1")
        self._path = path
        self._maturity = maturity_ms
        self._horizon = maturity_ms + slack_ms
        self._most = most_rows
        self._by_time = by_time
        self._table = "labels" if by_time else "dated_labels"
        self.passed = Passed()
        self._pending = self._labels = self._minutes = 0
        self._edge = _BEGINNING
        with self._telling():
            self._base = sqlite3.connect(
                ":memory:" if path is None else path, timeout=1.0, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
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
            for table in _TABLES:
                self._base.execute(table)
            found = self.note("format")
            if found not in (None, _FORMAT.encode()):
                raise StateError(
                    f"{self._path}: is of format {(found or b'').decode(errors='replace')}, "
                    f"and this program reads {_FORMAT}",
                    "start the program that wrote it, or remove the file: "
                    "evidence starts from zero",
                )
            told = self.note("identity")
            if told is not None and told != identity.encode():
                for table in ("pending", "labels", "dated_labels", "others", "notes"):
                    self._base.execute(f"DELETE FROM {table}")  # noqa: S608 names of ours
            self._note("format", _FORMAT.encode())
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
            added = self._base.executemany(
                "INSERT OR IGNORE INTO pending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows.tuples()
            )
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

    def learn(self, labels: LabelColumns) -> None:
        """Add labels; of several for a transaction, the last one that was known in time counts."""
        late = labels.event_time + self._horizon <= self._edge
        after = ~late & (labels.label_time > labels.event_time + self._maturity)
        self.passed.late_labels += int(late.sum())
        self.passed.after_cutoff += int(after.sum())
        told = labels.take(np.flatnonzero(~late & ~after))
        if not len(told):
            return
        with self._telling():
            self._begin()
            if not self._by_time:
                self._keep_all(told)
                return
            if len(told) > self._most - self._labels:
                # A label of a transaction that already has one needs no room.
                told = self._with_room(told)
            added = self._base.executemany(
                "INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?)", told.tuples()
            )
            self._labels += added.rowcount
            if added.rowcount < len(told):
                self._base.executemany(_LEARN, told.tuples())

    def _keep_all(self, labels: LabelColumns) -> None:
        """Store labels of which it is not determined yet whether they were known in time."""
        room = max(self._most - self._labels, 0)
        self.passed.full_labels += max(len(labels) - room, 0)
        added = self._base.executemany(
            "INSERT OR IGNORE INTO dated_labels VALUES (?, ?, ?, ?, ?, ?)",
            labels.take(slice(0, room)).tuples(),
        )
        self._labels += max(added.rowcount, 0)

    def _with_room(self, labels: LabelColumns) -> LabelColumns:
        """Return the labels whose transaction already has one, and others while there is room."""
        room, met, kept = self._most - self._labels, set[int](), []
        for row, key in enumerate(labels.key.view(np.int64).tolist()):
            if (
                key not in met
                and not self._base.execute("SELECT 1 FROM labels WHERE key = ?", (key,)).fetchone()
            ):
                if room <= 0:
                    self.passed.full_labels += 1
                    continue
                room -= 1
            met.add(key)
            kept.append(row)
        return labels.take(np.array(kept, np.int64))

    def mature(self, watermark: int) -> Ripe:
        """Return the decisions that have matured, and delete them.

        Args:
            watermark: Of event time, ms; a lower one than before has no effect.
        """
        self._edge = max(self._edge, watermark)
        until = self._edge - self._horizon
        with self._telling():
            self._begin()
            cursor = self._base.execute(
                _MATURE if self._by_time else _MATURE_DATED, (self._maturity, until)
            )
            pieces = []
            while found := cursor.fetchmany(_ROWS_AT_ONCE):
                pieces.append(np.array(found, np.float64))
            (others,) = self._base.execute(
                "SELECT coalesce(sum(count), 0) FROM others WHERE event_time <= ?", (until,)
            ).fetchone()
            self._pending -= self._forget("pending", until)
            self._labels -= self._forget(self._table, until)
            self._minutes -= self._forget("others", until)
        # Exact: times in ms and buckets are far below 2^53.
        rows = np.concatenate(pieces) if pieces else np.empty((0, 7))
        return Ripe(
            rows[:, 0].astype(np.int64), rows[:, 1].astype(np.uint8), rows[:, 2].astype(np.int64),
            rows[:, 3].copy(), rows[:, 4].astype(np.uint8), rows[:, 5].astype(np.uint8),
            rows[:, 6] != 0, others,
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
            self._pending, self._labels = self._size("pending"), self._size(self._table)
            self._minutes = self._size("others")
            self._edge = int(self.note("edge") or _BEGINNING)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Convert SQLite's errors to ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StateError(
                    f"{self._path}: another process has the file",
                    "give each instance its own file: controller.state",
                ) from error
            raise UnavailableError(
                f"{self._path}: {error}", "check the folder, the right to write, and the disk"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StateError(
                f"{self._path}: {error}", "remove the file: evidence starts from zero"
            ) from error
