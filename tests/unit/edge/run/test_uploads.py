"""A device's rows reach the API once each, whatever is lost on the way."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.edge.claims.contract import NO_CHAIN, EdgeProgress
from stream_scorer.edge.device import upload
from stream_scorer.edge.device.recovery import GapError
from stream_scorer.edge.device.state import OUTBOX
from stream_scorer.edge.device.upload import ForkError, RowsRefused, Uploader
from stream_scorer.edge.files.log import Hook
from stream_scorer.edge.run.https_upload import HttpsUpload
from stream_scorer.errors import EdgeError, UnavailableError
from tests.support.device.device_world import DEVICE, DeviceWorld, record
from tests.support.device.edge_api import KEY, EdgeApi, serving


@pytest.fixture
def api() -> Iterator[EdgeApi]:
    with serving(EdgeApi(DEVICE)) as found:
        yield found


@contextmanager
def uploader(
    world: DeviceWorld, api: EdgeApi, hook: Hook = lambda _: None, *, checked: bool = True
) -> Iterator[Uploader]:
    """Open a device's outbox, and what uploads it."""
    state = world.state()
    client = HttpsUpload(api.url, DEVICE, KEY)
    try:
        with Uploader(state.outbox, DEVICE, client, 4, hook, checked=checked) as found:
            yield found
    finally:
        state.close()


def decide(world: DeviceWorld, first: int, end: int) -> None:
    with world.scorer() as scorer:
        for number in range(first, end):
            scorer.decide(record(number))


def drain(found: Uploader) -> None:
    while found.step():
        pass


def test_rows_are_uploaded_in_order_and_deleted(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 10)
    with uploader(world, api) as found:
        drain(found)
        assert found._outbox.size() == (0, 0)
        assert found._outbox.deleted == api.progress
    assert [row.sequence for row in api.published] == list(range(1, 11))
    assert api.requests == 4
    # The next start asks, and has nothing to send.
    with uploader(world, api) as found:
        assert not found.step()


def test_an_upload_has_a_limit_of_bytes(
    world: DeviceWorld, api: EdgeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(world, 0, 8)
    state = world.state()
    first = state.outbox.first(1)[0].row
    state.close()
    each = len(first.key) + len(first.value) + len(first.decision) + 256
    # Two rows fit, three do not; and a row that is larger than the limit goes alone.
    for limit, requests in ((int(2.5 * each), 1 + 4), (1, 1 + 8)):
        monkeypatch.setattr(upload, "_BYTES_MOST", limit)
        api.requests, api.published, api.progress = 0, [], EdgeProgress()
        copy = replace(world, folder=world.folder.with_name(f"copy-{limit}"))
        shutil.copytree(world.folder, copy.folder)
        with uploader(copy, api) as found:
            drain(found)
        assert (len(api.published), api.requests) == (8, requests)


def test_a_lost_answer_publishes_nothing_twice(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 6)
    api.drop = True
    with uploader(world, api) as found:
        drain(found)
        assert found._outbox.size() == (0, 0)
    assert not api.drop
    assert [row.sequence for row in api.published] == list(range(1, 7))


def test_a_kill_before_the_deletion_publishes_nothing_twice(
    world: DeviceWorld, api: EdgeApi
) -> None:
    class Killed(BaseException):
        pass

    def hook(step: str) -> None:
        if step == "answered":
            raise Killed

    decide(world, 0, 6)
    with uploader(world, api, hook=hook) as found, pytest.raises(Killed):
        found.step()
    assert len(api.published) == 4
    with uploader(world, api) as found:
        assert found._outbox.size()[0] == 6
        found._settle(found._client.progress())
        assert found._outbox.size()[0] == 2
        drain(found)
    assert [row.sequence for row in api.published] == list(range(1, 7))


def test_a_restored_copy_stops_and_deletes_nothing(
    world: DeviceWorld, api: EdgeApi, tmp_path: Path
) -> None:
    decide(world, 0, 4)
    shutil.copytree(world.folder, tmp_path / "backup")
    decide(world, 4, 8)
    with uploader(world, api) as found:
        drain(found)
    shutil.rmtree(world.folder)
    shutil.copytree(tmp_path / "backup", world.folder)
    # It is older than what was published.
    with uploader(world, api) as found, pytest.raises(GapError):
        found.step()
    # It decides more than was published, so that only the chain differs.
    decide(world, 100, 110)
    with uploader(world, api) as found:
        with pytest.raises(ForkError):
            found.step()
        assert found._outbox.size()[0] == 14
    assert len(api.published) == 8


def test_without_the_comparison_of_chains_rows_are_lost(
    world: DeviceWorld, api: EdgeApi, tmp_path: Path
) -> None:
    # Shows that the comparison is what the test above depends on.
    decide(world, 0, 4)
    shutil.copytree(world.folder, tmp_path / "backup")
    decide(world, 4, 8)
    with uploader(world, api) as found:
        drain(found)
    shutil.rmtree(world.folder)
    shutil.copytree(tmp_path / "backup", world.folder)
    decide(world, 100, 110)
    with uploader(world, api, checked=False) as found:
        with pytest.raises((EdgeError, RowsRefused)):
            drain(found)
        assert found._outbox.deleted.sequence == 8
    ids = {row.sequence for row in api.published}
    assert ids == set(range(1, 9))


def lose_outbox(world: DeviceWorld) -> None:
    """Write the log again as a snapshot, and remove the outbox, as its error advises."""
    state = world.state()
    state.compact()
    state.close()
    for path in world.folder.glob(f"{OUTBOX}*"):
        path.unlink()


def test_a_lost_outbox_without_waiting_rows_loses_nothing(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 8)
    with uploader(world, api) as found:
        drain(found)
    lose_outbox(world)
    with uploader(world, api) as found, pytest.raises(GapError, match="accept-gap"):
        found.step()
    state = world.state(accept_gap=True, progress=api.progress)
    assert (state.history.sequence, state.history.cold.until) == (8, 0)
    assert state.outbox.deleted == api.progress
    state.close()
    decide(world, 8, 10)
    with uploader(world, api) as found:
        drain(found)
    assert [row.sequence for row in api.published] == list(range(1, 11))


def test_a_lost_outbox_is_restored_from_the_log(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 4)
    with uploader(world, api) as found:
        drain(found)
    lose_outbox(world)
    decide(world, 4, 8)
    with uploader(world, api) as found:
        drain(found)
    assert [row.sequence for row in api.published] == list(range(1, 9))


def test_rows_that_a_lost_outbox_had_are_named(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 6)
    with uploader(world, api) as found:
        assert found.step()
    lose_outbox(world)
    decide(world, 6, 8)
    with uploader(world, api) as found, pytest.raises(EdgeError, match="has lost the ones after"):
        found.step()
    assert len(api.published) == 4


def test_progress_that_was_lost_stops_the_device(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 4)
    with uploader(world, api) as found:
        drain(found)
    api.progress = EdgeProgress(0, NO_CHAIN)
    decide(world, 4, 6)
    with uploader(world, api) as found, pytest.raises(EdgeError, match="only those up to 0"):
        found.step()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (503, "edge-unavailable", UnavailableError),
        (429, "rate", UnavailableError),
        (500, "internal", UnavailableError),
        (401, "unauthorized", RowsRefused),
        (403, "edge-unknown", RowsRefused),
        (403, "edge-revoked", RowsRefused),
        (403, "edge-signature", RowsRefused),
        (413, "too-large", RowsRefused),
        (302, "", RowsRefused),
    ],
)
def test_each_problem_is_what_it_is(
    world: DeviceWorld, api: EdgeApi, status: int, kind: str, error: type[Exception]
) -> None:
    decide(world, 0, 2)
    with uploader(world, api) as found:
        found._settle(found._client.progress())
        found._asked = True
        api.problem = status, {"type": f"urn:stream-scorer:problem:{kind}", "detail": "why"}
        with pytest.raises(error, match="why"):
            found.step()
        drain(found)
    assert len(api.published) == 2


def test_an_answer_that_is_not_one_is_an_outage(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 2)
    for document in ({}, {"sequence": -1, "chain": ""}, {"sequence": 1, "chain": "AA=="}):
        with uploader(world, api) as found:
            api.problem = 200, document
            with pytest.raises(UnavailableError):
                found.step()


def test_rows_before_a_revocation_are_uploaded_first(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 6)
    api.revoked_after = 3
    asked: list[object] = []
    state = world.state()
    client = HttpsUpload(api.url, DEVICE, KEY, revoked=asked.append)
    with Uploader(state.outbox, DEVICE, client, 4) as found:
        assert found.step()
        assert (len(api.published), asked) == (3, [])
        with pytest.raises(RowsRefused, match="edge-revoked"):
            found.step()
    assert [each["revoked_after"] for each in asked] == [3]  # type: ignore[index]
    assert state.outbox.size()[0] == 3
    state.close()


def test_a_thread_uploads_whenever_there_are_rows(world: DeviceWorld, api: EdgeApi) -> None:
    state = world.state()
    published = threading.Event()

    def hook(step: str) -> None:
        if step == "deleted" and len(api.published) == 3:
            published.set()

    client = HttpsUpload(api.url, DEVICE, KEY)
    with world.scorer(state) as scorer, Uploader(state.outbox, DEVICE, client, 100, hook) as found:
        scorer.when_added(found.wake)
        found.start()
        for number in range(3):
            scorer.decide(record(number))
        assert published.wait(60)
        assert state.outbox.size() == (0, 0)
        assert found.failure is None


def test_a_fork_ends_the_thread_with_its_error(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 3)
    api.progress = EdgeProgress(2, b"x" * 32)
    with uploader(world, api) as found:
        found.start()
        assert found._thread is not None
        found._thread.join(60)
        assert isinstance(found.failure, ForkError)


def test_a_thread_that_fails_ends_the_device(world: DeviceWorld, api: EdgeApi) -> None:
    def fail(step: str) -> None:
        raise RuntimeError(f"a fault at {step}")

    decide(world, 0, 3)
    with uploader(world, api, fail) as found:
        found.start()
        assert found._thread is not None
        found._thread.join(60)
        assert "RuntimeError: a fault at answered" in str(found.failure)


def test_an_end_does_not_wait_for_a_silent_server(world: DeviceWorld, api: EdgeApi) -> None:
    decide(world, 0, 3)
    api.answers.clear()
    with uploader(world, api) as found:
        found.start()
        assert api.asked.wait(60)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert found._thread is not None
    assert not found._thread.is_alive()
    assert api.published == []
