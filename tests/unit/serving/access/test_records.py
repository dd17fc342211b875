"""Refusals in the audit log: bounded lines, with their counts, whatever an attacker sends."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_scorer.security.audit import AuditLog
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.serving.access.records import OTHERS, RefusalRecords
from tests.support.serving.access import Time

if TYPE_CHECKING:
    from stream_scorer.telemetry.event import Event


class Recording:
    """Records whose clock a test sets."""

    def __init__(self, folder: Path, waiting_most: int = 100) -> None:
        self.path = folder / "audit.log"
        self.time = Time()
        self.events: list[Event] = []
        trail = AuditTrail(AuditLog(self.path))
        self.records = RefusalRecords(trail, self.events.append, self.time, waiting_most)

    @property
    def lines(self) -> list[tuple[str, str, int]]:
        if not self.path.exists():
            return []
        found: list[Any] = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [(each["action"], each["subject"], each["details"]["count"]) for each in found]


def test_a_refusal_is_recorded_with_its_count(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    for _ in range(7):
        made.records.note("access.failures", "10.0.0.7")
    made.records.note("access.certificate-forged", "10.0.0.7")
    assert made.lines == []
    made.records.flush()
    assert made.lines == [
        ("access.failures", "10.0.0.7", 7), ("access.certificate-forged", "10.0.0.7", 1),
    ]  # fmt: skip


def test_an_address_has_one_line_a_minute(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    for _ in range(121):
        made.records.note("access.failures", "10.0.0.7")
        made.records.flush()
        made.time.now += 1
    assert [count for _, _, count in made.lines] == [1, 60, 60]
    made.records.note("access.failures", "10.0.0.7")
    made.records.flush(final=True)
    assert sum(count for _, _, count in made.lines) == 122


def test_many_addresses_share_lines(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    for number in range(5_000):
        made.records.note("access.failures", f"10.0.{number // 256}.{number % 256}")
    assert len(made.records._counts) == 101
    for _ in range(30):
        made.records.flush()
        made.time.now += 1
    # 60 lines come together, and then one a second.
    assert len(made.lines) == 89
    made.time.now += 60
    made.records.flush()
    assert sum(count for _, _, count in made.lines) == 5_000
    assert ("access.failures", OTHERS, 4_900) in made.lines


def test_what_could_not_be_written_is_counted_and_written_later(tmp_path: Path) -> None:
    made = Recording(tmp_path)
    made.path.mkdir()
    made.records.note("access.failures", "a")
    made.records.note("access.failures", "b")
    made.records.flush()
    assert len(made.events) == 1
    made.records.note("access.failures", "a")
    made.path.rmdir()
    made.records.flush()
    assert sorted(made.lines) == [("access.failures", "a", 2), ("access.failures", "b", 1)]
