"""Files of a remote store are read through a private cache that has only verified files."""

import hashlib
import stat
from pathlib import Path
from typing import Any

import fsspec
import pytest

from stream_scorer.errors import ModelError, SettingsError, UnavailableError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.stores.cache import FileCache
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import UrlStore, open_store
from stream_scorer.models.stores.store import FolderStore, Stored
from stream_scorer.settings import Models
from tests.support.models.stores import Shelves


@pytest.fixture
def shelves(tmp_path: Path) -> Shelves:
    return Shelves("memory", tmp_path)


def test_a_verified_bundle_is_cached_by_hash_for_this_user_alone(shelves: Shelves) -> None:
    folder = find(open_store(shelves.models), "fraud:1.0.0")
    bundle = load_bundle(folder)
    assert stat.S_IMODE(shelves.cache.stat().st_mode) == 0o700
    kept = {path.name: path.read_bytes() for path in shelves.cache.iterdir()}
    assert set(kept) == set(bundle.manifest.files.values())
    for digest, data in kept.items():
        assert hashlib.sha256(data).hexdigest() == digest
    # The cached file is used: the store now has an empty file.
    shelves.write("fraud/1.0.0/model.skops", b"")
    load_bundle(folder)


def test_a_copy_that_was_changed_is_not_used_but_fetched_again(shelves: Shelves) -> None:
    folder = find(open_store(shelves.models), "fraud:1.0.0")
    digest = load_bundle(folder).manifest.files["model.skops"]
    whole = (shelves.cache / digest).read_bytes()
    (shelves.cache / digest).write_bytes(b"pickle")
    load_bundle(folder)
    assert (shelves.cache / digest).read_bytes() == whole


def test_what_is_refused_is_not_kept(shelves: Shelves) -> None:
    shelves.write("fraud/1.0.0/golden.json", b"{}")
    with pytest.raises(ModelError, match=r"golden\.json is not the file"):
        load_bundle(find(open_store(shelves.models), "fraud:1.0.0"))
    assert hashlib.sha256(b"{}").hexdigest() not in {p.name for p in shelves.cache.iterdir()}


def test_a_cache_that_others_may_touch_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    with pytest.raises(SettingsError, match=r"models\.cache: .*not this user's alone"):
        FileCache(shared).prepare()
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"models\.cache: "):
        FileCache(tmp_path / "file").prepare()


def test_a_full_disk_costs_nothing_but_the_copy(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "gone")
    digest = hashlib.sha256(b"x").hexdigest()
    cache.put(digest, b"x")
    assert cache.get(digest, 10) is None
    cache.prepare()
    cache.put(digest, b"y")
    assert cache.get(digest, 10) is None
    cache.put(digest, b"x")
    assert cache.get(digest, 10) == b"x"
    assert cache.get(digest, 0) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nowhere://me:secret@x/y", r"models\.url: nowhere://\*\*\*@x/y: Protocol not known"),
        ("simplecache::memory://x", "chain of file systems"),
        ("memory://", "the path is empty"),
        ("file:///", "the path is empty"),
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=why) as refused:
        open_store(Models(url=url, cache=tmp_path / "cache"))
    assert "secret" not in str(refused.value)


def test_a_file_url_is_a_folder_with_a_folders_rules(tmp_path: Path) -> None:
    store = open_store(Models(url=f"file://{tmp_path}"))
    assert isinstance(store, FolderStore)
    assert store.directory == tmp_path


@pytest.mark.parametrize("asked", ["find", "ls", "open"])
@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_a_store_that_does_not_answer_is_one_line(
    asked: str, error: type[Exception], shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error("no\nroute")

    store = open_store(shelves.models)
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), asked, broken)
    with pytest.raises(UnavailableError) as refused:
        load_bundle(find(store, "fraud:1.0.0"))
    assert str(refused.value).startswith("bundles at memory://")
    assert "models.url" in refused.value.fix
    assert "\n" not in str(refused.value)


NEW = Stored("fraud", "7.0.0")
FILES = {"manifest.json": b"{}", "a.json": b"1", "z.json": b"2"}


def url_store(shelves: Shelves) -> UrlStore:
    store = open_store(shelves.models)
    assert isinstance(store, UrlStore)
    return store


def test_an_added_bundle_is_listed_when_it_is_complete(
    shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, files = url_store(shelves), fsspec.filesystem("memory")
    known = len(store.bundles())
    write, seen = files.pipe_file, list[bool]()

    def slowly(path: str, data: bytes, **more: Any) -> None:
        seen.append(NEW in store.bundles())
        write(path, data, **more)

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file",
                        staticmethod(slowly))  # fmt: skip
    store.add(NEW, FILES)
    assert seen == [False] * len(FILES)
    assert (len(store.bundles()), NEW in store.bundles()) == (known + 1, True)
    assert store.folder(NEW).names() == set(FILES)
    # Repeated, it writes nothing; another one of this version is refused.
    store.add(NEW, FILES)
    assert len(seen) == len(FILES)
    with pytest.raises(ModelError, match=r"bundle fraud:7\.0\.0: another one is in memory://"):
        store.add(NEW, FILES | {"manifest.json": b"[]"})


@pytest.mark.parametrize("error", [NotImplementedError, PermissionError])
def test_a_store_that_cannot_be_written_to_says_so(
    error: type[Exception], shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", refuse)
    with pytest.raises(ModelError, match="cannot be written to"):
        url_store(shelves).add(NEW, FILES)
