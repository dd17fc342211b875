"""One file of SQLite, which one process at a time can open.

All changes of a batch, the next offsets of the topics and the records to be sent are stored by one
:meth:`PerformanceStore.commit`. So after a crash the file is as of the last commit, and what is
read again from its offsets gives the same records again.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.closing import Closing
from stream_scorer.errors import StateError
from stream_scorer.performance.measures.contract import MaturedRows, UInt64
from stream_scorer.performance.store.rows import (
    SourcedStatements,
    WaitingDecisions,
    statements_of,
    waiting_of,
)
from stream_scorer.performance.store.tables import KEPT_ROW, PENDING, STATEMENTS, TABLES
from stream_scorer.sqlite_errors import sqlite_errors

_FORMAT: Final = b"1"
_DAY_MS: Final = 86_400_000
_ROWS_AT_ONCE: Final = 200_000


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """A record that is to be sent.

    Attributes:
        closing: Event time that the watermark had to reach for it, ms; it grows.
        topic: The topic.
        key: Its key.
        value: Its value.
    """

    closing: int
    topic: str
    key: bytes
    value: bytes


class PerformanceStore(Closing):
    """The file, used by the thread that opened it.

    Args:
        path: The file, which is created if it does not exist; None: only in memory.

    Raises:
        StateError: The file is damaged, of another format, or another process has it.
        UnavailableError: It cannot be opened or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        with self._telling():
            self._base = sqlite3.connect(
                ":memory:" if path is None else path, timeout=1.0, isolation_level=None
            )
        try:
            self._open()
        except BaseException:
            self._base.close()
            raise

    def _open(self) -> None:
        with self._telling():
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            # A commit survives a crash of the process. After a crash of the machine the last
            # commits may be missing: they are computed again, and not sent again.
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.execute("BEGIN EXCLUSIVE")
            for table in TABLES:
                self._base.execute(table)
            if (found := self.note("format")) not in (None, _FORMAT):
                raise StateError(
                    f"{self._path}: is of format {(found or b'').decode(errors='replace')}, "
                    f"and this program reads {_FORMAT.decode()}",
                    "start the program that wrote it, or remove the file: it is computed again "
                    "from the topics",
                )
            self._note("format", _FORMAT)
            self._base.execute("COMMIT")

    def close(self) -> None:
        """Undo what is not committed, and close the file."""
        self._base.close()

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

    def commit(self, places: Mapping[tuple[str, int], int], notes: Mapping[str, bytes]) -> None:
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
            for name, value in notes.items():
                self._note(name, value)
            self._base.execute("COMMIT")

    # -- decisions and statements ------------------------------------------------------------

    def wait(self, rows: WaitingDecisions) -> int:
        """Add decisions, each source offset once; return how many are new."""
        if not len(rows):
            return 0
        days = (rows.event_time // _DAY_MS).tolist()
        with self._telling():
            self._begin()
            added = self._base.executemany(
                f"INSERT OR IGNORE INTO pending VALUES (?{', ?' * 16})",  # noqa: S608 no names
                ((day, *row) for day, row in zip(days, rows.tuples(), strict=True)),
            )
            return added.rowcount

    def learn(self, statements: SourcedStatements) -> int:
        """Add statements, each record once; return how many are new."""
        if not len(statements):
            return 0
        with self._telling():
            self._begin()
            added = self._base.executemany(
                f"INSERT OR IGNORE INTO statements VALUES (?{', ?' * 9})",  # noqa: S608 no names
                statements.tuples(),
            )
            return added.rowcount

    def days(self) -> list[int]:
        """Return the days of the decisions that wait, ascending."""
        return [
            day for (day,) in self._rows(
                "WITH RECURSIVE d(day) AS (SELECT min(day) FROM pending UNION ALL"
                " SELECT (SELECT min(day) FROM pending WHERE day > d.day) FROM d"
                " WHERE d.day IS NOT NULL) SELECT day FROM d WHERE day IS NOT NULL"
            )
        ]  # fmt: skip

    def waiting(self, day: int) -> WaitingDecisions:
        """Return the decisions of a day, in the order of partition and offset."""
        return waiting_of(self._pieces(f"SELECT {PENDING} FROM pending WHERE day = ?", day))  # noqa: S608 names of ours

    def statements(self, start: int, end: int | None) -> SourcedStatements:
        """Return statements about transactions of some event times.

        Args:
            start: First event time, ms.
            end: The next event time after the last one; None if statements do not name it.
        """
        where = "event_time >= ?" + ("" if end is None else " AND event_time < ?")
        wanted = (start,) if end is None else (start, end)
        return statements_of(
            self._pieces(f"SELECT {STATEMENTS} FROM statements WHERE {where}", *wanted)  # noqa: S608 names of ours
        )

    def forget(self, day: int) -> None:
        """Delete a day's decisions, and the statements that can be about no later ones."""
        with self._telling():
            self._begin()
            self._base.execute("DELETE FROM pending WHERE day <= ?", (day,))
            self._base.execute(
                "DELETE FROM statements WHERE event_time < ?", ((day + 1) * _DAY_MS,)
            )

    def sizes(self) -> tuple[int, int, int]:
        """Return how many decisions wait, statements are kept, and matured decisions are kept."""
        with self._telling():
            (pending,) = self._base.execute("SELECT count(*) FROM pending").fetchone()
            (statements,) = self._base.execute("SELECT count(*) FROM statements").fetchone()
            (kept,) = self._base.execute("SELECT coalesce(sum(rows), 0) FROM kept").fetchone()
            return int(pending), int(statements), int(kept)

    def thin(self, mask: int) -> None:
        """Keep only the waiting decisions of customers whose hash has none of these bits.

        Args:
            mask: A power of two minus 1.
        """
        with self._telling():
            self._begin()
            self._base.execute("DELETE FROM pending WHERE card & ? != 0", (mask,))

    # -- matured decisions -------------------------------------------------------------------

    def keep(self, day: int, rows: MaturedRows, oldest: int) -> None:
        """Keep a day's matured decisions, and delete those of days before ``oldest``."""
        table = np.empty(len(rows), KEPT_ROW)
        for name in KEPT_ROW.names or ():
            table[name] = getattr(rows, name)
        with self._telling():
            self._begin()
            self._base.execute("DELETE FROM kept WHERE day < ? OR day = ?", (oldest, day))
            for part, first in enumerate(range(0, len(table), _ROWS_AT_ONCE)):
                piece = table[first : first + _ROWS_AT_ONCE]
                self._base.execute(
                    "INSERT INTO kept VALUES (?, ?, ?, ?)",
                    (day, part, len(piece), piece.tobytes()),
                )

    def kept(self, first: int, last: int) -> MaturedRows:
        """Return the matured decisions of some days, both inclusive."""
        rows = self._rows(
            "SELECT value FROM kept WHERE day BETWEEN ? AND ? ORDER BY day, part", first, last
        )
        pieces = [np.frombuffer(value, KEPT_ROW) for (value,) in rows]
        table = np.concatenate(pieces) if pieces else np.empty(0, KEPT_ROW)
        return MaturedRows(*(np.ascontiguousarray(table[name]) for name in KEPT_ROW.names or ()))

    def thin_kept(self, mask: int) -> None:
        """Keep only the matured decisions of customers whose hash has none of these bits.

        They are half of those before, so their weights double.
        """
        for (day,) in self._rows("SELECT DISTINCT day FROM kept"):
            rows = self.kept(day, day)
            left = rows.take(_without(rows.card, mask))
            self.keep(day, replace(left, weight=left.weight * 2), -(2**62))

    # -- outbox ------------------------------------------------------------------------------

    def post(self, records: Sequence[OutboxRecord]) -> None:
        """Add records that are to be sent, in their order."""
        if not records:
            return
        with self._telling():
            self._begin()
            self._base.executemany(
                "INSERT INTO outbox (closing, topic, key, value) VALUES (?, ?, ?, ?)",
                [(each.closing, each.topic, each.key, each.value) for each in records],
            )

    def outbox(self) -> list[OutboxRecord]:
        """Return the records that are to be sent, in their order; call it after a commit."""
        return [
            OutboxRecord(closing, topic, bytes(key), bytes(value))
            for closing, topic, key, value in self._rows(
                "SELECT closing, topic, key, value FROM outbox ORDER BY number"
            )
        ]

    def sent(self, closing: int) -> None:
        """Delete the records of a closing and of those before; call it after a commit."""
        with self._telling():
            if self._base.in_transaction:
                raise RuntimeError("records are sent after a commit only")
            self._base.execute("DELETE FROM outbox WHERE closing <= ?", (closing,))

    # -- the file ----------------------------------------------------------------------------

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._telling():
            return self._base.execute(query, values).fetchall()

    def _pieces(self, query: str, *values: object) -> Iterator[list[tuple[Any, ...]]]:
        with self._telling():
            cursor = self._base.execute(query, values)
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                yield rows

    def _begin(self) -> None:
        if not self._base.in_transaction:
            self._base.execute("BEGIN IMMEDIATE")

    def _note(self, name: str, value: bytes) -> None:
        self._base.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def _telling(self) -> AbstractContextManager[None]:
        return sqlite_errors(
            self._path, "performance.state", "it is computed again from the topics"
        )


def _without(card: UInt64, mask: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    kept: np.ndarray[tuple[int], np.dtype[np.bool_]] = (card & np.uint64(mask)) == 0
    return kept
