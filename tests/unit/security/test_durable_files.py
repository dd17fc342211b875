"""A file is replaced in one step, and the new one is on the disk before it gets the name."""

import os
import stat
from pathlib import Path

import pytest

from stream_scorer.durable_files import (
    PRIVATE,
    SHARED,
    replace_file,
    replacing,
    sync_file,
    sync_folder,
    write_new,
)


def test_content_is_synced_before_the_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    done: list[tuple[str, bytes]] = []
    sync = os.fsync

    def synced(number: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file"
        done.append((kind, path.read_bytes()))
        sync(number)

    monkeypatch.setattr(os, "fsync", synced)
    replace_file(path, b"new", PRIVATE)
    assert done == [("file", b"old"), ("folder", b"new")]


def test_a_failed_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace_file(path, b"old", PRIVATE)
    with pytest.raises(ZeroDivisionError), replacing(path, PRIVATE) as file:
        file.write(b"%d" % (1 // 0))
    assert path.read_bytes() == b"old"
    # What is left of it does not keep the next one from its place.
    replace_file(path, b"new", PRIVATE)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [
        ("state.json", b"new")
    ]


def test_permissions_are_those_that_the_caller_names(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with replacing(tmp_path / "shared", SHARED):
            pass
        replace_file(tmp_path / "private", b"", PRIVATE)
        write_new(tmp_path / "key", b"", PRIVATE)
    finally:
        os.umask(mask)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == {"shared": 0o640, "private": 0o600, "key": 0o600}


def test_a_new_file_replaces_none_and_links_are_not_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "key", tmp_path / "link"
    write_new(path, b"first", PRIVATE)
    link.symlink_to(path)
    for taken in (path, link):
        with pytest.raises(FileExistsError):
            write_new(taken, b"second", PRIVATE)
    assert path.read_bytes() == b"first"
    with pytest.raises(OSError, match="link"):
        sync_file(link)
    with pytest.raises(NotADirectoryError):
        sync_folder(path)
