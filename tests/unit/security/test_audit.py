"""The audit log: every written line is found, and every manipulation is found and named."""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import AuditError, UnavailableError
from stream_scorer.security import audit_lines
from stream_scorer.security.audit import AuditLog, user
from stream_scorer.security.audit_files import files_of
from stream_scorer.security.audit_lines import BEGINNING, Deed
from stream_scorer.security.audit_verify import AuditVerification, Signers, lines_of, verify
from stream_scorer.security.canonical_json import canonical
from stream_scorer.security.keys import key_id

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAMED = {key_id(KEY.public_key()): ("operator", KEY.public_key())}


def clock() -> Callable[[], datetime]:
    seconds = iter(range(10**6))
    return lambda: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))


def written(path: Path, count: int = 8, **options: Any) -> AuditLog:
    log = AuditLog(path, now=clock(), **options)
    for number in range(count):
        log.record("model.sign", f"fraud:1.{number}.0", {"number": number})
    return log


def faults(found: AuditVerification) -> list[str]:
    return [str(fault) for fault in found.faults]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def test_what_is_written_is_there_and_chained(path: Path) -> None:
    log = AuditLog(path, now=clock())
    line = log.record("model.sign", "fraud:1.1.0", {"key_id": "a", "é": [1, 2.5, None]}, "key:b")
    assert json.loads(path.read_bytes()) == {
        "format": 1, "number": 1, "time": "2026-03-01T00:00:00.000+00:00", "actor": "key:b",
        "action": "model.sign", "subject": "fraud:1.1.0",
        "details": {"key_id": "a", "é": [1, 2.5, None]}, "previous": BEGINNING, "key_id": "",
        "hash": line.hash,
    }  # fmt: skip
    second = log.record("model.sign", "fraud:1.2.0")
    assert (second.number, second.previous, second.deed.actor) == (2, line.hash, user())
    assert [each.deed.subject for each in lines_of(path)] == ["fraud:1.1.0", "fraud:1.2.0"]
    found = verify(path, expect=line.hash)
    assert faults(found) == []
    assert (found.lines, found.newest, found.newest_hash) == (2, 2, second.hash)
    assert (found.behind, found.unsigned, found.files) == (1, 2, 1)


def test_a_log_is_readable_only_by_its_owner_and_group(path: Path) -> None:
    written(path, 1)
    assert path.stat().st_mode & 0o777 == 0o640


@given(data=st.data())
def test_every_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.mktemp("log") / "audit.log"
    written(path, 4)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    found = verify(path)
    number = whole[:at].count(b"\n") + 1
    # If the flipped bit is a line's end, two lines become one.
    assert found.faults[0].line in {number, number + 1}
    assert found.faults[0].file == "audit.log"


def test_a_changed_byte_is_reported_with_its_line(path: Path) -> None:
    written(path)
    path.write_bytes(path.read_bytes().replace(b"fraud:1.3.0", b"fraud:1.9.0"))
    assert faults(verify(path)) == ["audit.log line 4: is not what its hash was taken of"]


def test_an_equal_line_in_other_bytes_is_found(path: Path) -> None:
    written(path, 2)
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number": 2'))
    assert faults(verify(path)) == ["audit.log line 2: is not written as it was"]


def test_a_line_is_on_the_disk_before_it_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written(path, 1)
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    log.record("model.sign", "fraud:2.0.0")
    assert sizes == [path.stat().st_size]


def test_a_line_with_a_recomputed_hash_does_not_fit_the_next(path: Path) -> None:
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    old = audit_lines.read(lines[3][:-1])
    forged = audit_lines.write(
        Deed("user:x", "model.sign", "fraud:6.6.6", {}), 4, old.previous, clock()()
    )
    lines[3] = forged.data + b"\n"
    path.write_bytes(b"".join(lines))
    assert faults(verify(path)) == ["audit.log line 5: line 5 does not follow the line before it"]


def test_a_first_line_that_follows_another_log_is_found(path: Path) -> None:
    forged = audit_lines.write(Deed("user:x", "model.sign", "m:1.0.0", {}), 1, "f" * 64, clock()())
    path.write_bytes(forged.data + b"\n")
    assert faults(verify(path)) == ["audit.log line 1: line 1 does not follow the line before it"]
    assert faults(verify(path, after="f" * 64)) == []


@pytest.mark.parametrize("taken", [0, 3, 6])
def test_a_removed_line_is_found(path: Path, taken: int) -> None:
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[taken]
    path.write_bytes(b"".join(lines))
    assert faults(verify(path)) == [
        f"audit.log line {taken + 1}: line {taken + 1} is missing before line {taken + 2}"
    ]


def test_several_removed_lines_are_reported_as_such(path: Path) -> None:
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[5:]))
    assert faults(verify(path)) == ["audit.log line 3: lines 3 to 5 are missing before line 6"]


def test_lines_in_another_order_are_found(path: Path) -> None:
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4], lines[5] = lines[5], lines[4]
    path.write_bytes(b"".join(lines))
    assert faults(verify(path)) == [
        "audit.log line 5: line 5 is missing before line 6",
        "audit.log line 6: is line 5 where line 7 should be",
    ]


def test_a_duplicate_line_is_found(path: Path) -> None:
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
    assert faults(verify(path)) == ["audit.log line 4: is line 3 where line 4 should be"]


def test_a_cut_off_end_is_found_by_a_hash_noted_elsewhere(path: Path) -> None:
    log = written(path)
    noted = log.record("model.sign", "fraud:2.0.0").hash
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    assert faults(verify(path)) == []
    (fault,) = faults(verify(path, expect=noted))
    assert fault.startswith(
        f"audit.log line 7: no line has the hash {noted}: the log's end was cut"
    )


def test_a_replaced_log_is_found_only_by_key_or_noted_hash(path: Path) -> None:
    noted = written(path, 3, key=KEY).record("model.sign", "fraud:2.0.0").hash
    path.unlink()
    written(path, 4)
    assert faults(verify(path)) == []
    assert "no line has the hash" in faults(verify(path, expect=noted))[0]
    found = verify(path, Signers(NAMED, required=True))
    assert faults(found)[0] == "audit.log line 1: line 1 is not signed"
    assert len(found.faults) == 4


def test_signed_lines_are_verified_by_their_key(path: Path) -> None:
    written(path, 3, key=KEY)
    found = verify(path, Signers(NAMED, required=True))
    assert (faults(found), found.signed) == ([], {"operator": 3})
    stranger = verify(path, Signers(required=True))
    assert stranger.unknown == 3
    assert f"unknown key, {next(iter(NAMED))}" in faults(stranger)[0]
    # Without a key, the log is accepted.
    assert faults(verify(path)) == []


def test_a_line_that_names_a_key_without_its_signature_is_found(path: Path) -> None:
    written(path, 2, key=KEY)
    content = json.loads(path.read_bytes().splitlines()[1])
    content["subject"] = "fraud:6.6.6"
    del content["hash"]
    content["hash"] = hashlib.sha256(canonical(content)).hexdigest()
    first = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(first + canonical(content) + b"\n")
    assert faults(verify(path)) == []
    assert faults(verify(path, Signers(NAMED))) == [
        "audit.log line 2: line 2 has no valid signature by operator, which it names"
    ]


@given(left=st.integers(1, 400), again=st.integers(0, 300))
def test_a_line_torn_by_a_crash_stays_and_is_reported(
    tmp_path_factory: pytest.TempPathFactory, left: int, again: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "audit.log"
    log = written(path, 3)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    torn = lines[2][: min(left, len(lines[2]) - 2)]
    path.write_bytes(b"".join(lines[:2]) + torn)
    found = verify(path)
    assert (faults(found), found.open_end, found.newest) == ([], len(torn), 2)
    # The line that reports a torn one may be torn as well.
    if again:
        log.record("model.sign", "fraud:1.7.0")
        after = path.read_bytes()
        path.write_bytes(after[: len(lines[0] + lines[1] + torn) + again])
    log.record("model.sign", "fraud:1.8.0")
    assert torn in path.read_bytes()
    found = verify(path)
    assert (faults(found), found.open_end) == ([], 0)
    assert len(found.torn) >= 1
    told = list(lines_of(path))
    assert told[2].deed.action == "audit.torn"
    assert told[-1].deed.subject == "fraud:1.8.0"


def test_a_line_without_its_newline_is_a_line(path: Path) -> None:
    log = written(path, 3)
    path.write_bytes(path.read_bytes()[:-1])
    assert verify(path).newest == 3
    assert log.record("model.sign", "fraud:1.8.0").number == 4
    found = verify(path)
    assert (faults(found), found.lines, found.torn) == ([], 4, [])


def test_torn_bytes_that_were_changed_afterwards_are_found(path: Path) -> None:
    log = written(path, 2)
    with path.open("ab") as file:
        file.write(b'{"action":"model.si')
    log.record("model.sign", "fraud:1.8.0")
    assert verify(path).torn == ["audit.log line 3"]
    path.write_bytes(path.read_bytes().replace(b"model.si\n", b"model.xx\n"))
    assert faults(verify(path)) == [
        "audit.log line 3: 20 bytes are not a line, and no later line records them"
    ]


def test_invalid_bytes_at_the_end_are_not_taken_for_a_crash(path: Path) -> None:
    written(path, 2)
    with path.open("ab") as file:
        file.write(b"\0\0\0")
    assert faults(verify(path)) == [
        "audit.log line 3: 3 bytes are not a line, and no later line records them"
    ]


def test_nothing_is_written_after_a_changed_line(path: Path) -> None:
    log = written(path, 3)
    path.write_bytes(path.read_bytes().replace(b"fraud:1.2.0", b"fraud:1.9.0"))
    before = path.read_bytes()
    with pytest.raises(AuditError, match="its last line is not what its hash was taken of"):
        log.record("model.sign", "fraud:2.0.0")
    assert path.read_bytes() == before


@pytest.mark.parametrize("end", [b"J", b"}", b"\0", b" ", b"\r"])
def test_nothing_is_written_after_a_last_line_with_another_end(path: Path, end: bytes) -> None:
    log = written(path, 3)
    altered = path.read_bytes()[:-1] + end
    path.write_bytes(altered)
    assert len(faults(verify(path))) == 1
    with pytest.raises(AuditError, match="its last line is"):
        log.record("model.sign", "fraud:2.0.0")
    assert path.read_bytes() == altered


def test_full_files_are_rotated_and_the_chain_continues(path: Path) -> None:
    log = written(path, 20, rotate_bytes=1_000)
    names = [each.name for each in files_of(path)]
    assert names[:2] == ["audit.log.000000000003", "audit.log.000000000006"]
    assert names[-1] == "audit.log"
    found = verify(path)
    assert (faults(found), found.lines, found.files) == ([], 20, len(names))
    # After a crash between the renaming and the next line, the current file does not exist.
    path.rename(path.with_name("audit.log.000000000020"))
    assert log.record("model.sign", "fraud:2.0.0").number == 21
    assert faults(verify(path)) == []


def test_archived_files_are_missed_unless_their_hash_is_given(path: Path) -> None:
    written(path, 20, rotate_bytes=1_000)
    oldest = files_of(path)[0]
    last = [line.hash for line in lines_of(path)][2]
    oldest.unlink()
    assert faults(verify(path)) == [
        "audit.log.000000000006 line 1: lines 1 to 3 are missing before line 4"
    ]
    assert faults(verify(path, after=last)) == []
    assert faults(verify(path, after="a" * 64)) == [
        "audit.log.000000000006 line 1: line 4 does not follow the line before it"
    ]


def test_a_file_in_the_middle_that_is_gone_is_missed(path: Path) -> None:
    written(path, 20, rotate_bytes=1_000)
    files_of(path)[1].unlink()
    assert "lines 4 to 6 are missing before line 7" in faults(verify(path))[0]


def _write_many(path: Path, name: str) -> None:
    log = AuditLog(path, rotate_bytes=10_000)
    for number in range(60):
        log.record("test.write", name, {"number": number})


def test_two_writers_at_a_time_make_one_chain(path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    writers = [fork.Process(target=_write_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = verify(path)
    assert (faults(found), found.lines) == ([], 120)
    for name in "ab":
        mine = [line.deed.details["number"] for line in lines_of(path) if line.deed.subject == name]
        assert mine == list(range(60))


def test_a_disk_that_fails_in_the_middle_leaves_no_half_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = written(path, 2)
    before = path.read_bytes()
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return real(file, data[:-50])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        log.record("model.sign", "fraud:2.0.0")
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        AuditLog(tmp_path / "nowhere" / "audit.log").record("model.sign", "fraud:1.0.0")


def test_an_invalid_line_is_refused_before_it_is_written(path: Path) -> None:
    log = AuditLog(path)
    with pytest.raises(ValueError, match="at most 65535 are one"):
        log.record("model.sign", "fraud:1.0.0", {"text": "x" * 70_000})
    with pytest.raises(ValueError, match="JSON compliant"):
        log.record("model.sign", "fraud:1.0.0", {"rate": float("nan")})
    assert not path.exists()
