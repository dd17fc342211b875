"""The number of attempts of a batch, as stored at the broker."""

import pytest

from stream_scorer.errors import CrashLoopError
from stream_scorer.kafka.loop.attempts import MOST_ATTEMPTS, Attempts, Note
from stream_scorer.kafka.loop.work_interface import LoopLimits
from stream_scorer.settings import Settings


def begun(note: bytes = b"", offset: int = 10) -> Attempts:
    attempts = Attempts(guarded=True)
    attempts.begin({0: offset, 1: 5}, {0: note})
    return attempts


def test_a_first_batch_is_marked_and_what_comes_after_it_is_not() -> None:
    attempts = begun()
    assert attempts.unmarked({0: 20})
    assert Note.read(attempts.marks({0: 20})[0]) == Note(1, 20, 0)
    attempts.marked({0: 20})
    assert not attempts.unmarked({0: 20})
    assert attempts.unmarked({0: 30, 1: 9})
    assert attempts.marks({0: 30, 1: 9}).keys() == {1}
    assert attempts.most(1_000, {0, 1}) == 1_000
    attempts.passed({0: 20})
    assert attempts.carried({0: 30}) == {}


def test_batches_shrink_per_death_until_the_range_is_passed() -> None:
    for attempts_before, level, most in ((1, 0, 64), (2, 1, 1), (1, 2, 1)):
        attempts = begun(Note(attempts_before, 500, level).write())
        assert attempts.most(1_000, {0, 1}) == most
        now = min(level + 1, 2)
        assert Note.read(attempts.marks({0: 11})[0]) == Note(attempts_before + 1, 500, now)
        attempts.marked({0: 11})
        assert attempts.most(1_000, {0, 1}) == most
        # A commit inside the range keeps the range for the next process. It restarts the count,
        # which includes this process, because it has already begun the next batch.
        assert Note.read(attempts.carried({0: 11})[0]) == Note(1, 500, now)
        attempts.passed({0: 11})
        assert attempts.most(1_000, {0, 1}) == most
        assert attempts.carried({0: 500}) == {}
        attempts.passed({0: 500})
        assert attempts.most(1_000, {0, 1}) == 1_000


def test_a_commit_of_one_partition_keeps_the_notes_of_others() -> None:
    attempts = begun(Note(1, 500, 0).write())
    attempts.marked({1: 9})
    attempts.passed({1: 9})
    assert attempts.most(1_000, {0, 1}) == 64
    assert attempts.carried({0: 20})


def test_a_range_with_three_deaths_is_refused_and_named() -> None:
    with pytest.raises(CrashLoopError, match=r"partition 0 offsets 10 to 499.*dlq take 0 10"):
        begun(Note(MOST_ATTEMPTS, 500, 2).write())


def test_the_monitor_is_not_told_to_take_a_record_of_the_input() -> None:
    scorer = Settings().scorer
    monitor = LoopLimits.of(scorer, 0.25, guarded=True, takes=False)
    attempts = Attempts(guarded=monitor.guarded, takes=monitor.takes)
    with pytest.raises(CrashLoopError) as raised:
        attempts.begin({0: 10}, {0: Note(MOST_ATTEMPTS, 500, 2).write()})
    assert "computed their topic's partition 0 offsets 10 to 499" in raised.value.what
    assert raised.value.fix == (
        "`dlq take` does not help here: report this line, and run the previous version; see "
        "docs/RUNBOOK.md, section 'The scorer left with exit code 14'"
    )
    assert LoopLimits.of(scorer, 0.25, guarded=True).takes


def test_records_are_taken_singly_only_as_far_as_a_dead_one_held() -> None:
    """Three processes that were killed at random do not make a long range slow."""
    attempts = begun(Note(2, 5_000, 1).write())
    attempts.marked({0: 11})
    singly = 0
    while attempts.most(1_000, {0, 1}) == 1:
        singly += 1
        attempts.passed({0: 10 + singly})
    # The dead process took 64 records, and had computed 64 more ahead.
    assert singly == 128
    assert attempts.most(1_000, {0, 1}) == 64
    assert Note.read(attempts.carried({0: 200})[0]) == Note(1, 5_000, 1)
    # Where such a batch ends a process, records are taken singly again.
    again = begun(attempts.carried({0: 200})[0], 200)
    again.marked({0: 201})
    again.passed({0: 201})
    assert again.most(1_000, {0, 1}) == 1


def test_only_the_suspected_partition_is_read_while_singly() -> None:
    attempts = begun(Note(2, 5_000, 1).write())
    assert attempts.singly({0, 1}) == {0}
    # Not while it is restored: records of others cannot be the suspected ones.
    assert attempts.singly({1}) == frozenset()
    assert attempts.most(1_000, {1}) == 1_000
    for offset in range(11, 11 + 128):
        attempts.passed({0: offset})
    assert attempts.singly({0, 1}) == frozenset()


@pytest.mark.parametrize("at", [10, 70, 273, 900])
def test_the_third_death_at_a_record_stops_there_and_names_it(at: int) -> None:
    """Whatever else is in the batch, it stops at most five deaths after the first such batch."""
    note, offset, deaths = b"", 10, 0
    while deaths < MOST_ATTEMPTS + 2:
        attempts = begun(note, offset)
        while True:
            most = attempts.most(1_000, {0, 1})
            end = min(offset + most, 1_010)
            if attempts.unmarked({0: end}):
                note = attempts.marks({0: end})[0]
                attempts.marked({0: end})
            if offset <= at < end:
                break
            note = attempts.carried({0: end})[0]
            attempts.passed({0: end})
            offset = end
        deaths += 1
        if deaths >= MOST_ATTEMPTS and offset == at and Note.read(note) == Note(3, 1_010, 2):
            break
    with pytest.raises(CrashLoopError, match=f"dlq take 0 {at}"):
        begun(note, offset)
    assert (offset, most) == (at, 1)


def test_deaths_with_progress_in_between_never_stop_a_group() -> None:
    note = b""
    for offset in range(10, 60):
        attempts = begun(note, offset)
        assert Note.read(attempts.marks({0: 500})[0])
        attempts.marked({0: 500})
        note = attempts.carried({0: offset + 1})[0]
        attempts.passed({0: offset + 1})


@pytest.mark.parametrize(
    "note",
    [
        b"", b"x", b"[]", b"7", b"{}", b"\xff",
        b'{"attempts":"3","end":99,"level":0,"version":"0.1.0"}',
        b'{"attempts":3,"end":99,"version":"0.1.0"}', Note(3, 500, 3).write(),
        Note(3, 500, -1).write(), Note(3, 500, 2, "another").write(), Note(3, 10, 2).write(),
    ],
)  # fmt: skip
def test_foreign_outdated_and_passed_notes_count_nothing(
    note: bytes,
) -> None:
    attempts = begun(note)
    assert attempts.most(1_000, {0, 1}) == 1_000
    assert Note.read(attempts.marks({0: 20})[0]) == Note(1, 20, 0)


def test_a_process_that_leaves_alive_forgets_the_attempts() -> None:
    attempts = begun(Note(1, 500, 0).write())
    assert attempts.forgotten((0, 1)) == {0: b""}
    attempts.marked({0: 20, 1: 9})
    assert attempts.forgotten((0, 1)) == {0: b"", 1: b""}
    assert attempts.forgotten((1,)) == {1: b""}
    attempts.passed({0: 500, 1: 9})
    assert attempts.forgotten((0, 1)) == {}


def test_revoked_partitions_and_unguarded_loops_keep_no_notes() -> None:
    attempts = begun(Note(2, 500, 1).write())
    attempts.end([0, 1])
    assert attempts.most(1_000, {0, 1}) == 1_000
    assert not attempts.unmarked({0: 20, 1: 20})
    silent = Attempts(guarded=False)
    silent.begin({0: 10}, {0: Note(3, 500, 2).write()})
    assert not silent.unmarked({0: 20})
