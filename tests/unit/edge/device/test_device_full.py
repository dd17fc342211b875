"""A device whose disk or outbox is full refuses, and is as it was before."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.device.scorer import DeviceRefused
from stream_scorer.edge.device.state import LOG
from tests.support.device.device_world import DeviceWorld, content, record
from tests.support.device.full_disk import on_small_disk


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_refuses_and_changes_nothing(world: DeviceWorld) -> None:
    state = world.state()
    with world.scorer(state) as scorer:
        for number in range(10):
            scorer.decide(record(number))
        before = content(state.history)
        size = (world.folder / LOG).stat().st_size
        with files_at_most(size + 100):
            for number in (10, 11):
                with pytest.raises(DeviceRefused, match="storage-full"):
                    scorer.decide(record(number))
        assert content(state.history) == before
        assert (world.folder / LOG).stat().st_size == size
        assert scorer.decide(record(10)).sequence == 11
    state = world.state()
    assert state.history.sequence == 11
    assert [event.row.sequence for event in state.outbox.first(99)] == list(range(1, 12))
    state.close()


def test_a_write_that_fails_undoes_all_that_waits(world: DeviceWorld) -> None:
    broken = [False]

    def hook(step: str) -> None:
        if step == "appended" and broken[0]:
            raise OSError(errno.ENOSPC, "No space left on device")

    state = world.state(hook)
    with world.scorer(state) as scorer:
        for number in range(5):
            scorer.decide(record(number, customers=1))
        before, chain = content(state.history), state.history.chain
        broken[0] = True
        waiting = [scorer.submit(record(number, customers=1)) for number in range(5, 12)]
        for each in waiting:
            with pytest.raises(DeviceRefused, match="storage-full"):
                each.result(10)
        assert (content(state.history), state.history.sequence) == (before, 5)
        assert state.history.chain == chain
        broken[0] = False
        assert scorer.decide(record(5, customers=1)).sequence == 6


def test_a_full_outbox_refuses_before_scoring(world: DeviceWorld) -> None:
    with world.scorer(rows_most=3) as scorer:
        for number in range(3):
            scorer.decide(record(number))
        with pytest.raises(DeviceRefused, match="outbox-full"):
            scorer.decide(record(3))
        scorer._state.outbox.delete_through(EdgeProgress(2, bytes(32)))
        assert scorer.decide(record(3)).sequence == 4
    with world.scorer(bytes_most=500) as scorer, pytest.raises(DeviceRefused, match="outbox"):
        scorer.decide(record(4))


def test_a_device_with_a_full_disk_continues_after_its_upload(
    tmp_path: Path, release_folder: Path
) -> None:
    found = on_small_disk(tmp_path, release_folder)
    if found is None:
        pytest.skip("this user may not mount a disk")
    assert found["refused"] == ["storage-full"] * 3
    assert found["unchanged"]
    first, second = found["decided"]
    # The outbox gives its room to the log.
    assert second > first // 3
    assert found["sequence"] == first + second
    assert found["uploaded"] == list(range(1, first + second + 2))
