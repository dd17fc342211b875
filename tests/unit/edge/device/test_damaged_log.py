"""What a device does with a log that more than a power cut has damaged: nothing is lost unseen."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.device.recovery import GapError
from stream_scorer.edge.device.state import LOG, OUTBOX
from stream_scorer.edge.files import damage
from stream_scorer.edge.files.damage import JudgedTail, judged_tail
from stream_scorer.edge.files.frames import FRAME_BYTES_MOST, LENGTH
from stream_scorer.edge.files.log import DeviceLog
from stream_scorer.errors import EdgeError
from tests.support.device.device_world import DEVICE, DeviceWorld, content, record

EVENTS = 20
ROW = 6
"""The row whose frame is damaged; it has none in front of it that is damaged."""
Damage = Callable[[bytearray, list[int]], None]
"""Changes a log, given where the frames of its rows begin, and the end."""


@pytest.fixture
def places(world: DeviceWorld) -> list[int]:
    """Decide, one row a frame; return where their frames begin, and the end of the log."""
    with world.scorer() as scorer:
        for number in range(EVENTS):
            scorer.decide(record(number, customers=6))
    with DeviceLog(world.folder / LOG, world.cipher, DEVICE) as log:
        ends = [(frame.sequence, log.size) for frame in log.frames()]
    found = [max(end for row, end in ends if row == each) for each in range(EVENTS + 1)]
    assert len(found) == EVENTS + 1
    return found


def damaged(world: DeviceWorld, places: list[int], change: Damage) -> bytes:
    """Damage a device's log, and return it."""
    data = bytearray((world.folder / LOG).read_bytes())
    change(data, places)
    (world.folder / LOG).write_bytes(data)
    return bytes(data)


def lose_outbox(world: DeviceWorld) -> None:
    for path in world.folder.glob(f"{OUTBOX}*"):
        path.unlink()


def cut_files(world: DeviceWorld) -> list[Path]:
    return sorted(world.folder.glob(f"{LOG}.cut*"))


def flip(*offsets: int) -> Damage:
    """Return what flips the lowest bit at places of the row's frame, counted from its begin."""

    def change(data: bytearray, places: list[int]) -> None:
        for offset in offsets:
            data[places[ROW - 1] + offset] ^= 1

    return change


def set_length(length: int) -> Damage:
    def change(data: bytearray, places: list[int]) -> None:
        LENGTH.pack_into(data, places[ROW - 1], length)

    return change


def sector(data: bytearray, places: list[int]) -> None:
    """Lose the frames of three rows to a bad sector."""
    begin, end = places[ROW - 1] + 7, places[ROW + 2] - 7
    data[begin:end] = bytes(end - begin)


def last_byte(data: bytearray, places: list[int]) -> None:
    """Damage the tag, which the next frame is bound to."""
    data[places[ROW] - 1] ^= 1


def sector_and_power_cut(data: bytearray, places: list[int]) -> None:
    sector(data, places)
    del data[places[-1] - 100 :]


DAMAGES: dict[str, Damage] = {
    "in the middle": flip(40),
    "the tag": last_byte,
    "no length": set_length(0),
    "a length of a few bytes": set_length(40),
    "a length beyond the end": set_length(1_000_000),
    "the longest length": set_length(FRAME_BYTES_MOST),
    "a length that is none": set_length(2**32 - 1),
    "several frames": sector,
    "several frames, and a power cut": sector_and_power_cut,
}


@pytest.mark.parametrize("damage_of", DAMAGES)
def test_damage_in_front_of_intact_rows_is_refused(
    world: DeviceWorld, places: list[int], damage_of: str
) -> None:
    data = damaged(world, places, DAMAGES[damage_of])
    last = EVENTS - 1 if damage_of.endswith("power cut") else EVENTS
    size = len(data) - places[ROW - 1]
    for _ in range(2):
        with pytest.raises(
            EdgeError,
            match=f"damaged at byte {places[ROW - 1]}, in front of intact data: {size} bytes "
            f"follow, with rows {ROW} to at least {last}",
        ):
            world.state()
        assert (world.folder / LOG).read_bytes() == data
        lose_outbox(world)
    assert cut_files(world) == []


def test_each_flipped_bit_of_a_length_is_refused(world: DeviceWorld, places: list[int]) -> None:
    whole = (world.folder / LOG).read_bytes()
    lose_outbox(world)
    for bit in range(32):
        data = bytearray(whole)
        data[places[ROW - 1] + bit // 8] ^= 1 << bit % 8
        (world.folder / LOG).write_bytes(data)
        with pytest.raises(EdgeError, match=f"rows {ROW} to at least {EVENTS}"):
            world.state()
        assert (world.folder / LOG).read_bytes() == data


def test_more_than_one_frame_of_damage_is_refused(world: DeviceWorld, places: list[int]) -> None:
    size = LENGTH.size + FRAME_BYTES_MOST
    whole = (world.folder / LOG).read_bytes()
    (world.folder / LOG).write_bytes(whole + bytes(size))
    world.state().close()
    assert (world.folder / LOG).read_bytes() == whole
    (world.folder / LOG).write_bytes(whole + bytes(size + 1))
    with pytest.raises(EdgeError, match=f"in front of more than one frame: {size + 1} bytes"):
        world.state()
    assert (world.folder / LOG).read_bytes() == whole + bytes(size + 1)


def end_of_log(data: bytearray, places: list[int]) -> None:
    """Damage the frames of the last three rows: the first one's length, and a byte of each."""
    LENGTH.pack_into(data, places[-4], 2**31)
    for place in places[-4:-1]:
        data[place + 50] ^= 255


def test_a_damaged_end_is_kept_and_restored(world: DeviceWorld, places: list[int]) -> None:
    state = world.state()
    wanted = content(state.history)
    state.close()
    data = damaged(world, places, end_of_log)
    noticed: list[str] = []
    state = world.state(notice=noticed.append)
    assert (state.history.sequence, content(state.history)) == (EVENTS, wanted)
    state.close()
    (kept,) = cut_files(world)
    assert kept.read_bytes() == data[places[-4] :]
    assert kept.stat().st_mode & 0o777 == 0o600
    (line,) = noticed
    assert f"{len(data) - places[-4]} damaged bytes after row {EVENTS - 3} were cut off" in line
    assert kept.name in line
    assert "the outbox had 3 rows" in line
    # The log has these rows again.
    lose_outbox(world)
    state = world.state(notice=noticed.append)
    assert (state.history.sequence, content(state.history)) == (EVENTS, wanted)
    state.close()
    assert len(noticed) == 1


def test_a_damaged_end_without_the_outbox_is_reported(
    world: DeviceWorld, places: list[int]
) -> None:
    data = damaged(world, places, end_of_log)
    lose_outbox(world)
    noticed: list[str] = []
    with world.scorer(world.state(notice=noticed.append)) as scorer:
        assert scorer.decide(record(99)).sequence == EVENTS - 2
    assert "the outbox had 0 rows; other rows of these bytes are missing" in noticed[0]
    assert cut_files(world)[0].read_bytes() == data[places[-4] :]


def test_a_damaged_end_of_uploaded_rows_needs_consent(
    world: DeviceWorld, places: list[int]
) -> None:
    state = world.state()
    published = EdgeProgress(EVENTS, state.history.chain)
    state.outbox.delete_through(published)
    state.close()
    data = damaged(world, places, end_of_log)
    size = len(data) - places[-4]
    for _ in range(2):
        with pytest.raises(GapError, match=f"ends at row 17, in front of {size} damaged bytes"):
            world.state()
        assert (world.folder / LOG).read_bytes() == data
    assert cut_files(world) == []
    noticed: list[str] = []
    state = world.state(accept_gap=True, notice=noticed.append)
    assert (state.history.sequence, state.history.chain) == (EVENTS, published.chain)
    state.close()
    assert "is missing 3 rows (18 to 20), and 0 waiting rows" in noticed[0]
    assert f"{size} damaged bytes after row 17" in noticed[1]
    assert cut_files(world)[0].read_bytes() == data[places[-4] :]


def test_a_start_that_is_killed_keeps_one_file(world: DeviceWorld, places: list[int]) -> None:
    data = damaged(world, places, end_of_log)
    for _ in range(2):
        (world.folder / LOG).write_bytes(data)
        world.state().close()
    assert len(cut_files(world)) == 1


def zeros(data: bytearray, places: list[int]) -> None:
    """Leave the length of the last file, and not its content."""
    data[places[-2] :] = bytes(len(data) - places[-2])


def half_zeros(data: bytearray, places: list[int]) -> None:
    data[places[-2] + 100 :] = bytes(len(data) - places[-2] - 100)


def shorter(data: bytearray, _: list[int]) -> None:
    del data[-100:]


@pytest.mark.parametrize("torn", [zeros, half_zeros, shorter])
def test_a_torn_write_is_cut_without_a_file(
    world: DeviceWorld, places: list[int], torn: Damage
) -> None:
    damaged(world, places, torn)
    lose_outbox(world)
    noticed: list[str] = []
    state = world.state(notice=noticed.append)
    assert (state.history.sequence, state.log.size) == (EVENTS - 1, places[-2])
    assert (world.folder / LOG).stat().st_size == places[-2]
    state.close()
    assert (noticed, cut_files(world)) == ([], [])


def test_a_refused_snapshot_is_not_changed(world: DeviceWorld, places: list[int]) -> None:
    state = world.state()
    state.compact()
    state.close()
    whole = (world.folder / LOG).read_bytes()
    for cut in range(200, len(whole), 211):
        (world.folder / LOG).write_bytes(whole[:cut])
        with pytest.raises(EdgeError, match="snapshot is cut off"):
            world.state()
        assert (world.folder / LOG).read_bytes() == whole[:cut]


def test_a_search_that_takes_too_long_keeps_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = b"".join(LENGTH.pack(60) + bytes(59) + bytes([each]) for each in range(1, 40))
    tried = itertools.count()

    def never(_: bytes, __: int, ___: bytes) -> None:
        next(tried)

    torn = LENGTH.pack(len(frames)) + frames
    assert judged_tail(torn, 3, never) == JudgedTail(torn=True)
    assert next(tried) > 100
    monkeypatch.setattr(damage, "_OPENED_BYTES_MOST", 600)
    assert judged_tail(torn, 3, never) == JudgedTail(torn=False)


def test_rows_that_only_the_log_has_count_as_waiting(world: DeviceWorld, places: list[int]) -> None:
    lose_outbox(world)
    noticed: list[str] = []
    progress = EdgeProgress(len(places) + 4, b"c" * 32)
    world.state(progress=progress, accept_gap=True, notice=noticed.append).close()
    assert noticed[0].endswith("is missing 5 rows (21 to 25), and 20 waiting rows are not uploaded")
