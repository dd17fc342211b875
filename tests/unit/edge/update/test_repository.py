"""The operator's side: keys, expiry, channels, and what an interrupted command leaves."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, Root, Targets

from stream_scorer import durable_files
from stream_scorer.edge.update import repository, repository_metadata
from stream_scorer.edge.update.refusals import ROLES
from stream_scorer.edge.update.release import Release, read_release
from stream_scorer.edge.update.repository import ReleaseStore
from stream_scorer.errors import EdgeError, SettingsError
from tests.support.edge.hostile_repository import small_release

START = datetime(2026, 11, 1, tzinfo=UTC)


class Operator:
    """A repository whose time can be set, and its keys."""

    def __init__(self, folder: Path) -> None:
        self.time = START
        self.folder = folder
        self.keys = {role: Ed25519PrivateKey.generate() for role in ROLES}
        self.store = ReleaseStore(folder / "repository", lambda: self.time)
        self.store.init(self.keys)

    def some(self, *roles: str) -> dict[str, Ed25519PrivateKey]:
        return {role: self.keys[role] for role in roles}

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.store.folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_each_role_has_its_key_and_its_time(operator: Operator) -> None:
    state = operator.store.state()
    assert state.versions == dict.fromkeys(ROLES, 1)
    assert {role: state.expires[role] - START for role in ROLES} == {
        "root": timedelta(days=365), "targets": timedelta(days=90),
        "snapshot": timedelta(days=7), "timestamp": timedelta(days=1),
    }  # fmt: skip
    root: Metadata[Root] = Metadata.from_bytes(
        (operator.store.folder / "metadata/1.root.json").read_bytes()
    )
    assert len({root.signed.roles[role].keyids[0] for role in ROLES}) == 4
    assert not any(b"PRIVATE" in data for data in operator.files().values())


def test_a_repository_is_made_once_with_four_keys(operator: Operator, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has files"):
        operator.store.init(operator.keys)
    one = operator.keys["root"]
    with pytest.raises(SettingsError, match="the same key"):
        ReleaseStore(tmp_path / "other").init({**operator.keys, "targets": one})
    for role in ROLES:
        keys = {each: key for each, key in operator.keys.items() if each != role}
        with pytest.raises(SettingsError, match=f"the key of {role} is needed"):
            ReleaseStore(tmp_path / "other").init(keys)
    assert not (tmp_path / "other").exists()


def test_channels_name_releases(operator: Operator, tmp_path: Path) -> None:
    first = operator.store.add(small_release(tmp_path / "1", "1.0.1"), "stable", operator.keys)
    second = operator.store.add(small_release(tmp_path / "2", "1.0.2"), "canary", operator.keys)
    assert operator.store.state().channels == {"canary": second.name, "stable": first.name}
    before = set(operator.files())
    operator.store.add(tmp_path / "2", "stable", operator.keys)
    targets: Metadata[Targets] = Metadata.from_bytes(
        (operator.store.folder / "metadata/4.targets.json").read_bytes()
    )
    # No channel names the first release any more; its files stay for devices that fetch them.
    assert not [path for path in targets.signed.targets if first.name in path]
    assert before <= set(operator.files())
    for name in ("", "a/b", "..x/", "a" * 65):
        with pytest.raises(SettingsError, match="is not a name"):
            operator.store.add(tmp_path / "2", name, operator.keys)


def test_a_file_is_on_the_disk_before_it_gets_its_name(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, replace, synced, early = os.fsync, Path.replace, set[int](), list[str]()

    def noted(number: int) -> None:
        synced.add(os.fstat(number).st_ino)
        sync(number)

    def named(path: Path, place: Path) -> Path:
        if path.stat().st_ino not in synced:
            early.append(place.name)
        return replace(path, place)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", named)
    operator.store.add(small_release(tmp_path / "1", "1.0.1"), "stable", operator.keys)
    assert early == []


def test_a_file_that_changes_while_it_is_published_is_refused(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(folder: Path) -> Release:
        release = read_release(folder)
        (folder / "fraud" / "plan.toml").write_text("[plan2]\n")
        return release

    monkeypatch.setattr(repository, "read_release", changed)
    with pytest.raises(SettingsError, match=r"plan\.toml: changed while it was published"):
        operator.store.add(small_release(tmp_path / "1", "1.0.1"), "stable", operator.keys)
    assert operator.store.state().channels == {}
    assert not list(operator.store.folder.rglob("*.plan.toml"))


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_missing_or_wrong_key_changes_nothing(
    operator: Operator, tmp_path: Path, role: str
) -> None:
    folder, before = small_release(tmp_path / "1", "1.0.1"), operator.files()
    others = {each: key for each, key in operator.keys.items() if each != role}
    with pytest.raises(SettingsError, match=f"give --{role}-key"):
        operator.store.add(folder, "stable", others)
    with pytest.raises(SettingsError, match=f"is not that of {role}"):
        operator.store.add(folder, "stable", {**others, role: Ed25519PrivateKey.generate()})
    assert operator.files() == before


def test_refresh_signs_what_is_due(operator: Operator) -> None:
    state = operator.store.refresh(operator.some("timestamp"))
    assert state.versions == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 2}
    assert state.due == ()
    operator.time += timedelta(days=5)
    # It is due, and is signed if its key is given.
    assert operator.store.refresh(operator.some("timestamp")).due == ("snapshot",)
    state = operator.store.refresh(operator.some("timestamp", "snapshot"))
    assert state.versions == {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 4}
    assert state.due == ()
    operator.time += timedelta(days=8)
    with pytest.raises(SettingsError, match="snapshot has expired"):
        operator.store.refresh(operator.some("timestamp"))
    operator.time = START + timedelta(days=300)
    with pytest.raises(SettingsError, match="targets has expired"):
        operator.store.refresh(operator.some("timestamp", "snapshot"))
    state = operator.store.refresh(operator.keys)
    assert (state.versions["root"], state.versions["targets"], state.due) == (2, 2, ())
    assert state.expires["root"] == operator.time + timedelta(days=365)


def test_a_rotation_takes_one_key(operator: Operator, tmp_path: Path) -> None:
    new = Ed25519PrivateKey.generate()
    state = operator.store.rotate("snapshot", new, operator.keys)
    assert state.versions == {"root": 2, "targets": 1, "snapshot": 2, "timestamp": 2}
    folder = small_release(tmp_path / "1", "1.0.1")
    with pytest.raises(SettingsError, match="is not that of snapshot"):
        operator.store.add(folder, "stable", operator.keys)
    operator.store.add(folder, "stable", {**operator.keys, "snapshot": new})
    with pytest.raises(SettingsError, match="another role"):
        operator.store.rotate("targets", new, operator.keys)
    with pytest.raises(SettingsError, match="is not known"):
        operator.store.rotate("mirror", new, operator.keys)


def test_a_root_is_signed_by_the_one_before(operator: Operator) -> None:
    new, before = Ed25519PrivateKey.generate(), operator.files()
    for keys in ({}, {"root": Ed25519PrivateKey.generate()}):
        with pytest.raises(SettingsError, match="root"):
            operator.store.rotate("root", new, keys)
    with pytest.raises(SettingsError, match="root"):
        operator.store.rotate(
            "timestamp", new, {**operator.keys, "root": Ed25519PrivateKey.generate()}
        )
    assert operator.files() == before
    assert operator.store.rotate("root", new, operator.some("root")).versions["root"] == 2
    with pytest.raises(SettingsError, match="root"):
        operator.store.rotate("timestamp", Ed25519PrivateKey.generate(), operator.keys)


def _cut(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the write of a file fail, as on a full disk."""
    write = durable_files.replace_file

    def failing(path: Path, data: bytes, mode: int) -> None:
        if path.name.endswith(name):
            raise OSError(28, "No space left on device")
        write(path, data, mode)

    monkeypatch.setattr(repository_metadata, "replace_file", failing)


@pytest.mark.parametrize("name", ["targets.json", "snapshot.json", "timestamp.json"])
def test_an_interrupted_command_is_repeated(
    operator: Operator, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_release(tmp_path / "1", "1.0.1")
    _cut(monkeypatch, name)
    with pytest.raises(EdgeError, match="No space left"):
        operator.store.add(folder, "stable", operator.keys)
    # Devices see what was before.
    assert operator.store.state().channels == {}
    monkeypatch.undo()
    release = operator.store.add(folder, "stable", operator.keys)
    assert operator.store.state().channels == {"stable": release.name}


def test_an_interrupted_rotation_is_repeated(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Ed25519PrivateKey.generate()
    _cut(monkeypatch, "timestamp.json")
    with pytest.raises(EdgeError, match="No space left"):
        operator.store.rotate("timestamp", new, operator.keys)
    monkeypatch.undo()
    state = operator.store.rotate("timestamp", new, {})
    assert (state.versions["root"], state.versions["timestamp"]) == (2, 2)


def test_a_folder_that_is_no_repository_is_refused(operator: Operator, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="has no root"):
        ReleaseStore(tmp_path / "nowhere").state()
    (operator.store.folder / "metadata/timestamp.json").write_text("{}")
    with pytest.raises(EdgeError, match="repository"):
        operator.store.refresh(operator.keys)
