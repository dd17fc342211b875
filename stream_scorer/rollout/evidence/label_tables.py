"""The tables of the delayed label join, and their change from an earlier format."""

import sqlite3
from typing import Final

FORMAT: Final = "2"
TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS pending (
        event_time INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        key INTEGER NOT NULL, arm INTEGER NOT NULL, bucket INTEGER NOT NULL, amount REAL NOT NULL,
        outcome INTEGER NOT NULL, shadow INTEGER NOT NULL,
        policy_outcome INTEGER NOT NULL DEFAULT 0, propensity REAL NOT NULL DEFAULT 1.0,
        inside INTEGER NOT NULL DEFAULT 1,
        PRIMARY KEY (event_time, partition, offset)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS statements (
        key INTEGER NOT NULL, event_time INTEGER NOT NULL, label_time INTEGER NOT NULL,
        state INTEGER NOT NULL, rank INTEGER NOT NULL, label_id INTEGER NOT NULL,
        retracts INTEGER NOT NULL, drawn REAL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        PRIMARY KEY (key, label_time, partition, offset)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS statements_by_time ON statements (event_time)",
    "CREATE TABLE IF NOT EXISTS others (event_time INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS places (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
)
ROWS: Final = ("pending", "statements", "others", "notes")
"""Tables that belong to one rollout."""
_OLD_FORMAT: Final = "1"
_FROM_OLD: Final = (
    "ALTER TABLE pending ADD COLUMN policy_outcome INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE pending ADD COLUMN propensity REAL NOT NULL DEFAULT 1.0",
    "ALTER TABLE pending ADD COLUMN inside INTEGER NOT NULL DEFAULT 1",
    "UPDATE pending SET policy_outcome = outcome",
    # A label of the earlier format is fraud or genuine: states 1 and 0.
    """INSERT OR IGNORE INTO statements
        SELECT key, event_time, label_time, fraud, 0, 0, 0, NULL, partition, offset FROM labels""",
    """INSERT OR IGNORE INTO statements
        SELECT key, event_time, label_time, fraud, 0, 0, 0, NULL, partition, offset
        FROM dated_labels""",
    "DROP TABLE labels",
    "DROP TABLE dated_labels",
)


def create(base: sqlite3.Connection) -> str | None:
    """Create what is missing in a file, or change a file of the earlier format.

    Args:
        base: The file, in a transaction of the caller.

    Returns:
        The format that the file had, if this program does not know it; else None.
    """
    exists = base.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchone()
    found = (
        base.execute("SELECT value FROM notes WHERE name = 'format'").fetchone() if exists else None
    )
    told = None if found is None else bytes(found[0]).decode(errors="replace")
    if told not in (None, FORMAT, _OLD_FORMAT):
        return told
    for table in TABLES:
        base.execute(table)
    for change in _FROM_OLD if told == _OLD_FORMAT else ():
        base.execute(change)
    return None
