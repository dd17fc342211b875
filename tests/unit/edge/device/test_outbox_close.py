"""An outbox is closed while another thread reads from it: SQLite would end the process."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.edge.files.cipher import Cipher
from stream_scorer.edge.files.outbox import Outbox

SECONDS = 60.0


class SlowConnection(sqlite3.Connection):
    """A connection that waits before it reads rows, and notes what was done in which order."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.reads = threading.Event()
        self.may_read = threading.Event()
        self.done: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        slow = sql.startswith("SELECT sequence, data")
        if slow:
            self.reads.set()
            assert self.may_read.wait(SECONDS)
            self.done.append("read")
        return super().execute(sql, *parameters)

    def close(self) -> None:
        self.done.append("closed")
        super().close()


def test_a_close_waits_for_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[SlowConnection] = []

    def connect(*given: Any, **named: Any) -> SlowConnection:
        opened.append(SlowConnection(*given, **named))
        return opened[0]

    monkeypatch.setattr(sqlite3, "connect", connect)
    outbox = Outbox(tmp_path / "outbox.sqlite", Cipher(bytes(32)), "till")
    base = opened[0]
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.append(outbox.first(1)))
    closing = threading.Thread(target=outbox.close)
    reading.start()
    assert base.reads.wait(SECONDS)
    closing.start()
    closing.join(0.2)
    base.may_read.set()
    for each in (reading, closing):
        each.join(SECONDS)
    assert base.done == ["read", "closed"]
    assert found == [[]]
