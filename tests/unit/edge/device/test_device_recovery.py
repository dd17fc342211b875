"""What a power cut, a full disk, a flipped bit or an old copy leaves of a device's files."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream_scorer.core.events.batch import Flag
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.device import state as device_state
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.device.recovery import GapError
from stream_scorer.edge.device.state import LOG, OUTBOX, DeviceState
from stream_scorer.edge.files.cipher import Cipher
from stream_scorer.edge.files.events import unpacked_group
from stream_scorer.edge.files.frames import FrameKind
from stream_scorer.edge.files.log import DeviceLog
from stream_scorer.errors import EdgeError
from tests.support.device.device_child import ANSWERED, KILLED, ChildOrder, ended, fork_server
from tests.support.device.device_world import (
    DEVICE,
    DeviceWorld,
    Rings,
    content,
    device_world,
    memory_folder,
    record,
)

EVENTS = 60
LAST_BYTES = 4_096
STEPS = ("before append", "appended", "synced", "new written", "new synced", "renamed")


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, release_folder: Path
) -> tuple[DeviceWorld, list[Rings]]:
    """Return a device that has decided, and its rings after each transaction."""
    world = device_world(tmp_path_factory.mktemp("written"), release_folder)
    after = []
    state = world.state()
    with world.scorer(state) as scorer:
        after.append(content(state.history))
        for number in range(EVENTS):
            scorer.decide(record(number, customers=6))
            after.append(content(state.history))
    return world, after


def copied(world: DeviceWorld, folder: Path) -> DeviceWorld:
    """Return the same device in another folder, as a copy."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world.folder, folder)
    return DeviceWorld(folder, world.release, world.place, world.key, world.cipher, world.wall)


def finish(world: DeviceWorld, state: DeviceState) -> Rings:
    """Send what the device does not have, from its sequence number on; return its rings."""
    first = state.history.sequence
    with world.scorer(state) as scorer:
        for number in range(first, EVENTS):
            scorer.decide(record(number, customers=6))
        return content(state.history)


def test_a_truncated_log_loses_nothing_with_the_outbox(
    written: tuple[DeviceWorld, list[Rings]], tmp_path: Path
) -> None:
    # bench/edge_steps/device.py cuts at every byte.
    world, after = written
    size = (world.folder / LOG).stat().st_size
    copy = copied(world, tmp_path / "copy")
    whole = (world.folder / LOG).read_bytes()
    for cut in (*range(size - LAST_BYTES, size, 97), *range(size - 30, size)):
        (copy.folder / LOG).write_bytes(whole[:cut])
        state = copy.state()
        assert state.history.sequence == EVENTS, cut
        assert content(state.history) == after[-1], cut
        state.close()
    # What only the outbox had is in the log again.
    for path in copy.folder.glob(f"{OUTBOX}*"):
        path.unlink()
    state = copy.state()
    assert (state.history.sequence, content(state.history)) == (EVENTS, after[-1])
    state.close()


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as folder:
        yield folder


def test_truncation_at_each_byte_leaves_a_prefix(
    written: tuple[DeviceWorld, list[Rings]], in_memory: Path
) -> None:
    world, after = written
    whole = (world.folder / LOG).read_bytes()
    path = in_memory / LOG
    found: dict[int, int] = {}
    for cut in range(len(whole) - LAST_BYTES, len(whole)):
        path.write_bytes(whole[:cut])
        with DeviceLog(path, world.cipher, DEVICE) as log:
            bodies = [each.body for each in log.frames() if each.kind == FrameKind.EVENTS]
            assert path.stat().st_size == log.size
            events = [event for body in bodies for event in unpacked_group(body)]
            if len(events) not in found:
                history = DeviceHistory(world.release.model.features)
                history.restore(log.frames())
                history.replay(DEVICE, events)
                assert content(history) == after[len(events)], cut
        found[len(events)] = cut
    assert list(found) == sorted(found)
    assert len(found) > 4


def test_a_prefix_continues_without_the_outbox(
    written: tuple[DeviceWorld, list[Rings]], tmp_path: Path
) -> None:
    world, after = written
    whole = (world.folder / LOG).read_bytes()
    for cut in (len(whole) - 1, len(whole) - LAST_BYTES // 2, len(whole) - LAST_BYTES):
        copy = copied(world, tmp_path / "copy")
        for path in copy.folder.glob(f"{OUTBOX}*"):
            path.unlink()
        (copy.folder / LOG).write_bytes(whole[:cut])
        state = copy.state()
        assert 0 < state.history.sequence < EVENTS
        assert finish(copy, state) == after[-1], cut


def test_a_flipped_bit_is_refused_or_repaired(
    written: tuple[DeviceWorld, list[Rings]], tmp_path: Path
) -> None:
    world, after = written
    whole = (world.folder / LOG).read_bytes()
    copy = copied(world, tmp_path / "copy")
    draw = random.Random(12)  # noqa: S311 a test's choice
    refused = 0
    for _ in range(100):
        place = draw.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        (copy.folder / LOG).write_bytes(bytes(damaged))
        try:
            state = copy.state()
        except EdgeError:
            refused += 1
            continue
        assert content(state.history) == after[-1], place
        state.close()
    assert refused > 30


def test_a_changed_row_of_the_outbox_is_refused(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        scorer.decide(record(0))
        scorer.decide(record(1))
    with closing(sqlite3.connect(world.folder / OUTBOX)) as base:
        (first,), (second,) = base.execute("SELECT data FROM rows ORDER BY sequence").fetchall()
    changed = bytearray(first)
    changed[len(first) // 2] ^= 1
    for data in (bytes(changed), second, b""):
        with closing(sqlite3.connect(world.folder / OUTBOX)) as base:
            base.execute("UPDATE rows SET data = ? WHERE sequence = 1", (data,))
            base.commit()
        state = world.state()
        with pytest.raises(EdgeError, match="row 1 was changed"):
            state.outbox.first(2)
        state.close()


def compacted(world: DeviceWorld) -> None:
    """Write a device's log again as a snapshot."""
    state = world.state()
    before = state.log.size
    state.compact()
    assert state.log.size < before
    state.close()


def test_a_snapshot_that_is_cut_off_is_refused(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        for number in range(20):
            scorer.decide(record(number))
    compacted(world)
    whole = (world.folder / LOG).read_bytes()
    for cut in range(0, len(whole), 97):
        (world.folder / LOG).write_bytes(whole[:cut])
        with pytest.raises(EdgeError):
            world.state()
    (world.folder / LOG).write_bytes(whole)
    world.state().close()


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_no_answer(world: DeviceWorld, step: str, tmp_path: Path) -> None:
    context, key = fork_server(), world.key.private_bytes_raw()
    noted = world.folder / ANSWERED
    reached = 0
    for times in (1, 2, 3):
        order = ChildOrder(world.folder, world.place, key, reached, 60, step, times, tail=8)
        assert ended(context, order) == KILLED
        answered = len(noted.read_text().split()) if noted.exists() else 0
        state = world.state()
        reached = state.history.sequence
        # What was answered is there; what was not may be.
        assert reached in {answered, answered + 1}
        noted.write_text("".join(f"{number}\n" for number in range(reached)))
        state.close()
    alone = device_world(tmp_path / "alone", world.place)
    reference = alone.state()
    with alone.scorer(reference) as scorer:
        for number in range(reached):
            scorer.decide(record(number))
        wanted = content(reference.history)
    state = world.state()
    assert content(state.history) == wanted
    assert [event.row.sequence for event in state.outbox.first(99)] == list(range(1, reached + 1))
    state.close()


def test_a_compacted_log_is_the_same_device(
    world: DeviceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_state, "TAIL_EVENTS_MOST", 10)
    state = world.state()
    with world.scorer(state) as scorer:
        answers = [scorer.decide(record(number)) for number in range(35)]
        before, chain = content(state.history), state.history.chain
    reopened = world.state()
    assert content(reopened.history) == before
    assert (reopened.history.sequence, reopened.history.chain) == (35, chain)
    with world.scorer(reopened) as scorer:
        assert [scorer.decide(record(number)) for number in range(35)] == answers


def test_an_older_copy_of_the_log_is_refused(world: DeviceWorld, tmp_path: Path) -> None:
    with world.scorer() as scorer:
        for number in range(10):
            scorer.decide(record(number))
    backup = (world.folder / LOG).read_bytes()
    with world.scorer() as scorer:
        for number in range(10, 20):
            scorer.decide(record(number))
        progress = EdgeProgress(20, scorer._history.chain)
        scorer._state.outbox.delete_through(progress)
    (world.folder / LOG).write_bytes(backup)
    with pytest.raises(GapError, match=r"ends at row 10, and rows up to 20.*is missing 10 rows"):
        world.state()
    noticed: list[str] = []
    state = world.state(accept_gap=True, notice=noticed.append)
    text = "is missing 10 rows (11 to 20), and 0 waiting rows are not uploaded"
    assert noticed == [
        f"{world.folder / LOG}: continues after row 20 with --accept-gap: its history {text}"
    ]
    assert (state.history.sequence, state.history.chain) == (20, progress.chain)
    with world.scorer(state) as scorer:
        answer = scorer.decide(record(20))
    assert (answer.sequence, answer.flags) == (21, Flag.DEGRADED)
    # It is noted in the log: the next start needs no consent, and still flags.
    with world.scorer() as scorer:
        assert scorer.decide(record(21)).flags == Flag.DEGRADED


def test_an_outbox_of_another_history_is_refused(world: DeviceWorld, tmp_path: Path) -> None:
    with world.scorer() as scorer:
        for number in range(10):
            scorer.decide(record(number))
    other = copied(world, tmp_path / "copy")
    for device, first, count in ((world, 10, 2), (other, 20, 4)):
        with device.scorer() as scorer:
            for number in range(first, first + count):
                scorer.decide(record(number))
    (other.folder / LOG).write_bytes((world.folder / LOG).read_bytes())
    for consent in (False, True):
        with pytest.raises(EdgeError, match="row 13 does not follow row 12"):
            other.state(accept_gap=consent)


def test_a_gap_is_dated_by_the_devices_clock(world: DeviceWorld) -> None:
    right = world.wall()
    with world.scorer() as scorer:
        scorer.decide(record(0))
    # The machine has lost its time: features are incomplete all the same until then.
    world.wall = lambda: 0
    state = world.state(progress=EdgeProgress(7, b"c" * 32), accept_gap=True)
    need = world.release.model.features.need.window_ms
    assert state.history.cold.until == right + need > need
    state.close()


def test_a_device_older_than_its_progress_is_refused(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        for number in range(3):
            scorer.decide(record(number))
    progress = EdgeProgress(7, b"c" * 32)
    with pytest.raises(GapError, match="rows up to 7"):
        world.state(progress=progress)
    noticed: list[str] = []
    state = world.state(progress=progress, accept_gap=True, notice=noticed.append)
    assert [each.partition("its history ")[2] for each in noticed] == [
        "is missing 4 rows (4 to 7), and 3 waiting rows are not uploaded"
    ]
    assert (state.history.sequence, state.history.chain) == (7, b"c" * 32)
    assert state.outbox.size() == (0, 0)
    state.close()


def test_a_missing_log_is_not_a_new_device(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        for number in range(4):
            scorer.decide(record(number))
    (world.folder / LOG).unlink()
    with pytest.raises(GapError, match="is missing"):
        world.state()
    state = world.state(accept_gap=True)
    assert state.history.sequence == 4
    state.close()


def test_another_key_or_device_is_refused(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        scorer.decide(record(0))
    world.cipher = Cipher(bytes(32))
    with pytest.raises(EdgeError, match="another key"):
        world.state()


def test_no_file_has_an_id_in_clear(world: DeviceWorld) -> None:
    with world.scorer() as scorer:
        for number in range(20):
            scorer.decide(record(number))
    compacted(world)
    with world.scorer() as scorer:
        scorer.decide(record(20))
    names = [path for path in world.folder.iterdir() if path.is_file()]
    assert {LOG, OUTBOX} <= {path.name for path in names}
    for path in names:
        data = path.read_bytes()
        assert b"customer-" not in data, path
        assert b"APPROVE" not in data, path
        assert path.stat().st_mode & 0o077 == 0, path
