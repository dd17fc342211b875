"""The tables of the file, and a matured decision as its bytes."""

from typing import Final

import numpy as np

PENDING: Final = (
    "partition, offset, key, event_time, card, version, arm, segments, score, amount, outcome,"
    " through, propensity, drawn, pi, revision"
)
STATEMENTS: Final = (
    "key, partition, offset, event_time, label_time, state, label_id, retracts, drawn, source"
)
_INTEGERS_OF_PENDING: Final = (
    "day INTEGER, partition INTEGER, offset INTEGER, key INTEGER, event_time INTEGER, card INTEGER,"
    " version INTEGER, arm INTEGER, segments INTEGER, score REAL, amount REAL, outcome INTEGER,"
    " through INTEGER, propensity REAL, drawn INTEGER, pi REAL, revision INTEGER"
)
_PENDING_TABLE: Final = (
    f"CREATE TABLE IF NOT EXISTS pending ({_INTEGERS_OF_PENDING},"
    " PRIMARY KEY (day, partition, offset)) WITHOUT ROWID"
)
_STATEMENTS_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS statements (key INTEGER, partition INTEGER, offset INTEGER,"
    " event_time INTEGER, label_time INTEGER, state INTEGER, label_id INTEGER, retracts INTEGER,"
    " drawn REAL, source TEXT, PRIMARY KEY (partition, offset)) WITHOUT ROWID"
)
_BY_TIME: Final = "CREATE INDEX IF NOT EXISTS statements_by_time ON statements (event_time)"
_KEPT_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS kept (day INTEGER, part INTEGER, rows INTEGER, value BLOB,"
    " PRIMARY KEY (day, part)) WITHOUT ROWID"
)
_OUTBOX_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY, closing INTEGER, topic TEXT,"
    " key BLOB, value BLOB)"
)
_PLACES_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS places (topic TEXT, partition INTEGER, next_offset INTEGER,"
    " PRIMARY KEY (topic, partition)) WITHOUT ROWID"
)
_NOTES_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
)
TABLES: Final = (
    _PENDING_TABLE, _STATEMENTS_TABLE, _BY_TIME, _KEPT_TABLE, _OUTBOX_TABLE, _PLACES_TABLE,
    _NOTES_TABLE,
)  # fmt: skip
KEPT_ROW: Final = np.dtype(
    [
        ("version", "<i4"), ("arm", "u1"), ("segments", "<u8"), ("score", "<f8"),
        ("amount", "<f8"), ("weight", "<f8"), ("outcome", "u1"), ("state", "u1"),
        ("card", "<u8"), ("bucket", "<i4"), ("drawn", "?"), ("pi", "<f8"), ("event_time", "<i8"),
    ]
)  # fmt: skip
"""A matured decision in the file: 68 bytes."""
