"""A device has a complete release at any time, whenever its process is killed."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_scorer.edge.update.refusals import UpdateClockError, UpdateGoldenError, UpdateUnfitError
from stream_scorer.edge.update.release import read_release
from stream_scorer.edge.update.releases_folder import ReleasesFolder
from stream_scorer.errors import EdgeError, SettingsError
from tests.support.edge.hostile_repository import Device, HostileRepository

STEPS = (
    "fetched", "synced", "named", "before previous", "before current", "switched", "pruned",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[HostileRepository]:
    with HostileRepository(tmp_path) as made:
        yield made


def killed_at(device: Device, wanted: int | str) -> str:
    """Update in another process that kills itself at a call, by number or name; return its name.

    The calls are those of the steps, and those that make, move or remove files, links and folders.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def step(name: str) -> None:
            nonlocal count
            if wanted in {count, name}:
                os.write(write, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        def before(call: str) -> None:
            done = getattr(os, call)

            def counted(*given: object, **named: object) -> object:
                step(call)
                return done(*given, **named)

            setattr(os, call, counted)

        try:
            client = device.client(step)
            release = client.check()
            assert release is not None
            for call in ("rename", "replace", "symlink", "unlink", "mkdir", "rmdir"):
                before(call)
            client.install(release)
            os.write(write, b"done")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        name = told.read().decode()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) == (name != "done")
    return name


def test_a_kill_leaves_the_old_release_or_the_new_one(
    repository: HostileRepository, tmp_path: Path
) -> None:
    first = repository.publish(model=b"1" * 100_000)
    device = repository.device()
    assert device.update() == first.digest
    second = repository.publish(model=b"2" * 100_000)
    before = tmp_path / "before"
    device.directory.rename(before)
    seen: dict[str, set[str]] = {}
    for number in range(1_000):
        shutil.rmtree(device.directory, ignore_errors=True)
        shutil.copytree(before, device.directory, symlinks=True)
        name = killed_at(device, number)
        # Reading the current release verifies that it is complete.
        seen.setdefault(name, set()).add(device.current)
        # The next process completes what this one left.
        assert device.update() == second.digest
        if name == "done":
            break
    assert device.client().back().name == first.digest
    assert set(STEPS) <= seen.keys()
    assert set.union(*seen.values()) == {first.digest, second.digest}
    assert seen["before current"] == {first.digest}
    assert seen["switched"] == {second.digest}
    # Nothing is left of what was killed.
    assert {path.name for path in (device.directory / "releases").iterdir()} == {
        first.digest, second.digest,
    }  # fmt: skip


def test_back_keeps_the_release_before_until_another_comes(repository: HostileRepository) -> None:
    first = repository.publish()
    device = repository.device()
    device.update()
    with pytest.raises(EdgeError, match="no release before"):
        device.client().back()
    repository.publish()
    device.update()
    assert device.client().back().name == first.digest
    assert device.client().check() is None
    assert device.update() == first.digest
    third = repository.publish()
    assert device.update() == third.digest
    assert device.client().back().name == first.digest
    # It was denied until the channel named another one.
    repository.publish()
    device.update()
    repository.publish_again(third)
    assert device.update() == third.digest


@pytest.mark.parametrize("error", [UpdateGoldenError, UpdateUnfitError])
def test_a_release_that_is_not_accepted_is_not_taken(
    repository: HostileRepository, error: type[UpdateGoldenError | UpdateUnfitError]
) -> None:
    first = repository.publish()
    device = repository.device()
    device.update()
    second = repository.publish()
    asked: list[tuple[Path, Path | None]] = []

    def refuse(folder: Path, serving: Path | None) -> None:
        asked.append((folder, serving))
        assert read_release(folder).digest == second.digest
        raise error("it is not as it was")

    accept, device.verify = device.verify, refuse
    with pytest.raises(error):
        device.update()
    assert device.current == first.digest
    assert asked == [(device.directory / "incoming", device.directory / "releases" / first.digest)]
    device.verify = accept
    assert device.update() == second.digest


def test_a_complete_release_is_not_fetched_again(repository: HostileRepository) -> None:
    repository.publish()
    device = repository.device()
    device.update()
    second = repository.publish(model=b"2" * 1_000)
    assert killed_at(device, "before current") == "before current"
    repository.site.asked.clear()
    assert device.update() == second.digest
    assert not [path for path in repository.site.asked if path.endswith(".model")]


def test_a_damaged_release_is_fetched_again(repository: HostileRepository) -> None:
    repository.publish()
    device = repository.device()
    device.update()
    second = repository.publish()
    device.update()
    device.client().back()
    (device.directory / "denied").unlink()
    damaged = device.directory / "releases" / second.digest / "fraud/1.0.2/golden.json"
    damaged.write_text("[]")
    assert device.update() == second.digest


@pytest.mark.parametrize("damaged", [False, True])
def test_a_release_in_use_is_replaced_only_if_damaged(
    repository: HostileRepository, *, damaged: bool
) -> None:
    release = repository.publish()
    device = repository.device()
    device.update()
    folder = device.directory / "releases" / release.digest
    whole = device.directory / "whole"
    shutil.copytree(folder, whole)
    if damaged:
        (folder / "fraud/1.0.1/golden.json").write_text("[]")
    inode = folder.stat().st_ino
    releases = ReleasesFolder(device.directory)
    with releases.locked():
        incoming = releases.make_room(release.size)
        shutil.copytree(whole, incoming, dirs_exist_ok=True)
        releases.keep(release.digest)
        releases.switch(release.digest)
    assert device.current == release.digest
    assert (folder.stat().st_ino == inode) is not damaged
    assert not incoming.exists()


def test_a_full_disk_is_said_before_anything_is_fetched(
    repository: HostileRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.publish()
    device = repository.device()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    with pytest.raises(EdgeError, match="the disk has 1,000"):
        device.update()
    monkeypatch.undo()
    assert device.update()


def test_two_processes_do_not_update_at_once(repository: HostileRepository) -> None:
    repository.publish()
    device = repository.device()
    client = device.client()
    with (
        client._releases.locked(),
        pytest.raises(EdgeError, match="another process updates"),
    ):
        device.client().check()
    assert device.update()


def test_what_is_not_there_is_named(repository: HostileRepository, tmp_path: Path) -> None:
    device = repository.device()
    with pytest.raises(SettingsError, match="no channel 'stable'"):
        device.update()
    with pytest.raises(ValueError, match="check"):
        device.client().install(repository.publish())
    root = device.directory / "update/root.json"
    kept = root.read_bytes()
    root.unlink()
    with pytest.raises(SettingsError, match="--root FILE"):
        device.update()
    (tmp_path / "no-root.json").write_bytes(repository.file("metadata/timestamp.json"))
    with pytest.raises(SettingsError, match="is not the root"):
        device.client().trust(tmp_path / "no-root.json")
    (tmp_path / "root.json").write_bytes(kept)
    device.client().trust(tmp_path / "root.json")
    assert device.update()


def test_another_root_is_not_trusted_later(repository: HostileRepository, tmp_path: Path) -> None:
    device = repository.device()
    device.client().trust(repository.root)
    other = tmp_path / "other"
    other.mkdir()
    with (
        HostileRepository(other) as stranger,
        pytest.raises(SettingsError, match="another root is trusted"),
    ):
        device.client().trust(stranger.root)


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format":1,"roles":{},"seconds":-}'])
def test_damaged_versions_are_not_taken_for_none(
    repository: HostileRepository, damage: bytes
) -> None:
    repository.publish()
    device = repository.device()
    device.update()
    versions = device.directory / "update/versions.json"
    kept = versions.read_bytes()
    versions.write_bytes(damage)
    with pytest.raises(EdgeError, match="is damaged"):
        device.update()
    versions.unlink()
    with pytest.raises(EdgeError, match="it is missing"):
        device.update()
    versions.write_bytes(kept)
    assert device.update()


def test_a_clock_that_is_a_little_early_is_accepted(repository: HostileRepository) -> None:
    repository.publish()
    device = repository.device()
    device.update()
    device.clock_back = 3_500.0
    second = repository.publish()
    assert device.update() == second.digest
    # The earlier time stays the one that counts.
    device.clock_back = 3_700.0
    with pytest.raises(UpdateClockError):
        device.update()
