"""The monitor's work: an abort, a kill and a restart change nothing that is published."""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.drift.operator.command import DriftAuthority, made
from stream_scorer.drift.state import chunks
from stream_scorer.errors import RegistryUnavailableError, StateError
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.ports import Paused
from stream_scorer.security.keys import TrustedKey, key_id
from stream_scorer.state.checkpoints.record_mac import RecordMac
from stream_scorer.telemetry import (
    DriftCommandFolded,
    DriftDetected,
    DriftSnapshot,
    DriftStateMissing,
    DriftWatched,
    Event,
    RecordsSkipped,
)
from tests.support.drift.monitors import (
    COMMAND,
    SUMMARY,
    Topics,
    events,
    raw,
    restored,
    step,
    work,
)
from tests.support.drift.synthetic import HOUR, START, Shift, summaries

WINDOWS = 100
CHANGE = 40


@pytest.fixture(scope="module")
def encoded() -> tuple[list[bytes | None], list[int]]:
    pairs = list(summaries(WINDOWS, shifts={CHANGE: Shift(score=1.8)}, parts=2))
    return [SUMMARY.encode(each) for each, _ in pairs], [at for _, at in pairs]


@pytest.fixture
def topics(encoded: tuple[list[bytes | None], list[int]]) -> Topics:
    return Topics(summaries=list(encoded[0]), times=list(encoded[1]))


def whole(topics: Topics, size: int = 7) -> list[bytes]:
    """Return the events of a monitor that is never disturbed."""
    calm = Topics(summaries=topics.summaries, times=topics.times, commands=topics.commands)
    monitor = restored(work(calm), 0)
    for at in range(0, len(calm.summaries), size):
        step(monitor, calm, at, min(at + size, len(calm.summaries)))
    return calm.events


def test_a_change_becomes_events(topics: Topics) -> None:
    told: list[Event] = []
    monitor = restored(work(topics, told), 0)
    for at in range(0, 2 * WINDOWS, 7):
        step(monitor, topics, at, min(at + 7, 2 * WINDOWS))
    found = events(topics)
    page = next(each for each in found if each["severity"] == "page")
    assert page["signal"] == "score/level@all"
    assert page["event_id"] == page["episode"]
    assert page["reference_digest"] == "00112233445566ff"
    assert page["detected_at"] >= page["window_end"]
    assert DriftDetected(page["detector"], "score") in told
    assert any(isinstance(each, DriftSnapshot) and each.size > 1_000 for each in told)
    watched = [each for each in told if isinstance(each, DriftWatched)][-1]
    assert watched.open["page"] == 1
    assert watched.streams["alarmed"] >= 1
    assert watched.streams["no_reference"] == 0


@pytest.mark.parametrize("size", [1, 13, 1_000])
def test_events_do_not_depend_on_the_batches(topics: Topics, size: int) -> None:
    assert whole(topics, size) == whole(topics)


@pytest.mark.parametrize("seed", range(3))
def test_kills_change_no_bit_of_the_events(topics: Topics, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 a test's choice, no secret
    expected = whole(topics)
    monitor, at, kills = restored(work(topics), 0), 0, 0
    while at < len(topics.summaries):
        last = min(at + chance.randint(1, 9), len(topics.summaries))
        fate = chance.random()
        batch = raw(topics.summaries[at:last], at, topics.times[at:last])
        result = monitor.compute(batch, Stages())
        if fate < 0.3:
            # Killed before the commit, or after it: another process continues.
            kills += 1
            if fate < 0.15:
                topics.commit(result)
                at = last
            monitor = restored(work(topics), at)
        elif fate < 0.5:
            monitor.undo(result)
        else:
            topics.commit(result)
            monitor.keep(result, Stages(), batch)
            at = last
    assert kills > 5
    assert topics.events == expected
    assert expected


def test_a_command_is_folded_once_through_aborts_and_kills(topics: Topics) -> None:
    monitor = restored(work(topics), 0)
    step(monitor, topics, 0, 120)
    (opened, *_) = [each for each in events(topics) if each["severity"] == "page"]
    record = made("ack", opened["event_id"], None, START, "seen", None)
    topics.commands += [COMMAND.encode(record), COMMAND.encode(record)]
    batch = raw(topics.summaries[120:121], 120, topics.times[120:121])
    monitor.undo(monitor.compute(batch, Stages()))
    before = len(topics.events)
    step(monitor, topics, 120, 121)
    told: list[Event] = []
    step(restored(work(topics, told), 121), topics, 121, 130)
    assert not any(isinstance(each, DriftCommandFolded) for each in told)
    acked = [each for each in events(topics)[before:] if each["change"] == "acknowledged"]
    assert [each["episode"] for each in acked] == [opened["episode"]]
    # The state that has the command is in its transaction.
    after = restored(work(topics), 130)
    assert after.watch.commands.offset == 2
    assert after.watch.episodes.records[opened["episode"]].state == "acknowledged"


def test_commands_count_only_with_an_operators_signature(topics: Topics) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    number = key_id(key.public_key())
    allowed = DriftAuthority({number: TrustedKey("risk", key.public_key())}, required=True)
    told: list[Event] = []
    monitor = restored(work(topics, told, authority=allowed), 0)
    step(monitor, topics, 0, 120)
    (opened, *_) = [each for each in events(topics) if each["severity"] == "page"]
    event = opened["event_id"]
    good = made("accept", event, None, START, "", key)
    forged = [
        made("accept", event, None, START, "", None),
        made("accept", event, None, START, "", other),
        {**made("ack", event, None, START, "", key), "kind": "accept"},
        {**good, "command_id": "0" * 32},
    ]
    topics.commands += [COMMAND.encode(each) for each in forged] + [b"no command"]
    step(monitor, topics, 120, 121)
    assert [each["change"] for each in events(topics)].count("accepted") == 0
    topics.commands.append(COMMAND.encode(good))
    step(monitor, topics, 121, 122)
    accepted = [each for each in events(topics) if each["change"] == "accepted"]
    assert [(each["episode"], each["commander"]) for each in accepted] == [(event, number)]
    results = [each.result for each in told if isinstance(each, DriftCommandFolded)]
    assert results == ["refused"] * 5 + ["done"]


def test_an_unknown_event_has_no_effect(topics: Topics) -> None:
    told: list[Event] = []
    topics.commands.append(COMMAND.encode(made("ack", "0" * 16, None, START, "", None)))
    step(restored(work(topics, told), 0), topics, 0, 5)
    assert [each.result for each in told if isinstance(each, DriftCommandFolded)] == [
        "without_effect"
    ]
    assert topics.events == []
    assert topics.state


def test_a_snooze_ends_by_kafka_time(topics: Topics) -> None:
    until = START + (CHANGE + 30) * HOUR
    topics.commands.append(COMMAND.encode(made("snooze", "", until, START, "", None)))
    step(restored(work(topics), 0), topics, 0, 2 * WINDOWS)
    found = [each for each in events(topics) if each["change"] == "opened"]
    assert found
    assert {each["severity"] for each in found} == {"note"}
    assert all(each["snoozed"] for each in found)
    topics.events.clear()
    topics.state.clear()
    earlier = made("snooze", "", START + 10 * HOUR, START, "", None)
    topics.commands[:] = [COMMAND.encode(earlier)]
    step(restored(work(topics), 0), topics, 0, 2 * WINDOWS)
    assert "page" in {each["severity"] for each in events(topics)}


class Down:
    """A registry that is unreachable."""

    def writer_schema(self, _: int) -> str:
        raise RegistryUnavailableError("registry: no answer")

    def id_for(self, *_: str) -> int:
        raise RegistryUnavailableError("registry: no answer")


def test_an_outage_of_the_registry_pauses_and_leaves_no_trace(topics: Topics) -> None:
    monitor = work(topics, registry=Down())
    with pytest.raises(Paused, match="no answer") as pause:
        monitor.compute(raw(topics.summaries[:1]), Stages())
    assert pause.value.dependency == "registry"
    assert monitor.watch.detected_at == -1


def test_a_record_that_is_not_a_summary_is_counted(topics: Topics) -> None:
    foreign: list[bytes | None] = [None, b"text", b"\0\0\0\0\x0d", topics.summaries[0][:-3]]  # type: ignore[index]
    monitor = work(topics)
    batch = raw(foreign)
    committed = monitor.keep(monitor.compute(batch, Stages()), Stages(), batch)
    assert dict(committed.rejected) == {"MALFORMED": 4}
    assert committed.next_offsets == {0: 4}


def test_windows_that_never_close_are_limited_and_counted(topics: Topics) -> None:
    (window,) = next(summaries(1))[0]["windows"]
    window |= {"count": 1, "amount_minor_sum": 1, "score_sum": 0.0, "cells": b"", "sums": b""}
    future = START + 24_000 * HOUR

    def forged(number: int, **changed: str) -> bytes:
        windows = [window | {"start": future + (4_000 * number + n) * HOUR} for n in range(4_000)]
        summary = next(summaries(1))[0] | {"sources": [], "arrivals": [], "windows": windows}
        return SUMMARY.encode(summary | changed)

    told: list[Event] = []
    monitor = work(topics, told)
    batch = raw([forged(number) for number in range(4)])
    committed = monitor.keep(monitor.compute(batch, Stages()), Stages(), batch)
    assert dict(committed.rejected) == {"MALFORMED": 2}
    (skipped,) = (event for event in told if isinstance(event, RecordsSkipped))
    assert (skipped.topic, skipped.records, skipped.offset) == ("summaries", 2, 2)
    assert "more than 10000 windows are open" in skipped.why
    batch = raw([forged(0, model="m" * 1_025), forged(0, model_version="1" * 1_025)])
    committed = monitor.keep(monitor.compute(batch, Stages()), Stages(), batch)
    assert dict(committed.rejected) == {"MALFORMED": 2}


def test_a_damaged_state_is_refused(topics: Topics) -> None:
    step(restored(work(topics), 0), topics, 0, 60)
    key, value = topics.state[-1]
    topics.state.append((key, (value or b"")[:-1] + b"x"))
    with pytest.raises(StateError, match="digest"):
        restored(work(topics), 60)


def test_a_state_after_the_committed_offset_is_refused(topics: Topics) -> None:
    step(restored(work(topics), 0), topics, 0, 60)
    with pytest.raises(StateError, match="moved back"):
        restored(work(topics), 30)


def test_a_state_by_a_client_without_the_key_is_refused(topics: Topics) -> None:
    sealed = RecordMac({b"12345678": b"k" * 32})
    step(restored(work(topics, mac=sealed), 0), topics, 0, 60)
    assert restored(work(topics, mac=sealed), 60).watch.closed > 0
    plain = Topics(summaries=topics.summaries, times=topics.times)
    step(restored(work(plain), 0), plain, 0, 60)
    with pytest.raises(StateError, match="carries no MAC"):
        restored(work(plain, mac=sealed), 60)


def test_deleted_summaries_are_told_and_not_repeated(topics: Topics) -> None:
    told: list[Event] = []
    step(restored(work(topics), 0), topics, 0, 60)
    before = len(topics.events)
    topics.oldest = 80
    after = restored(work(topics, told), 80)
    assert DriftStateMissing("summaries_deleted", 80) in told
    assert after.watch.tiles.gaps == 1
    assert len(topics.events) == before


def test_without_a_snapshot_all_summaries_are_replayed(topics: Topics) -> None:
    told: list[Event] = []
    step(restored(work(topics), 0), topics, 0, 60)
    topics.state.clear()
    after = restored(work(topics, told), 60)
    assert DriftStateMissing("no_snapshot", 0) in told
    assert after.watch.closed > 20


def test_a_shorter_snapshot_removes_the_chunks_it_has_not(topics: Topics) -> None:
    step(restored(work(topics), 0), topics, 0, 60)
    snapshot = topics.state[-1]
    assert snapshot[0] == b"chunk-0000"
    parts = chunks.chunks_of(bytes(chunks.CHUNK_BYTES + 1), 9, 60, 0)
    topics.state += [(chunks.key_of(n), part) for n, part in enumerate(parts)]
    assert list(chunks.leftover(2, 1)) == [b"chunk-0001"]
    read = chunks.joined({chunks.key_of(n): part for n, part in enumerate(parts)})
    assert read is not None
    assert (read.sequence, read.chunks, len(read.data)) == (9, 2, chunks.CHUNK_BYTES + 1)
    mixed: dict[bytes, bytes] = {b"chunk-0000": snapshot[1] or b"", b"chunk-0001": parts[1]}
    with pytest.raises(ValueError, match="one complete snapshot"):
        chunks.joined(mixed)


def test_a_snapshot_is_due_when_kafka_time_goes_back(topics: Topics) -> None:
    """Windows that close then are kept as soon as others are."""
    times = topics.times
    year = 365 * 24 * HOUR
    # A wrong clock is believed, and then corrected.
    topics.times = [each + (year if number < 40 else 0) for number, each in enumerate(times)]
    monitor = restored(work(topics), 0)
    step(monitor, topics, 0, 40)
    state = len(topics.state)
    # So few summaries close fewer windows than make a snapshot by themselves.
    for at in range(40, 75):
        step(monitor, topics, at, at + 1)
    assert monitor.watch.detected_at < topics.times[0]
    assert len(topics.state) > state
