"""A release is the files of one bundle and its plan, and nothing else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.edge.update.release import (
    Release,
    channel_document,
    differences,
    read_channel,
    read_release,
)
from stream_scorer.errors import SettingsError
from tests.support.edge.hostile_repository import small_release


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_release(tmp_path / "release", "1.0.1")


def test_a_release_is_read_as_it_is_written(folder: Path) -> None:
    release = read_release(folder)
    assert release.label == "fraud:1.0.1"
    assert sorted(release.files) == [
        "fraud/1.0.1/golden.json", "fraud/1.0.1/manifest.json", "fraud/plan.toml",
    ]  # fmt: skip
    assert Release.from_json(release.to_json()) == release
    assert release.name == f"fraud-1.0.1-{release.digest[:16]}"
    assert not differences(folder, release)


def _link(folder: Path) -> None:
    (folder / "fraud/1.0.1/golden.json").unlink()
    (folder / "fraud/1.0.1/golden.json").symlink_to("/etc/hostname")


def _link_folder(folder: Path) -> None:
    (folder / "fraud/1.0.2").symlink_to(folder / "fraud/1.0.1")


def _second(folder: Path) -> None:
    small_release(folder, "1.0.2")


def _empty(folder: Path) -> None:
    for path in (folder / "fraud/1.0.1").iterdir():
        path.unlink()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "fraud/1.0.1/pipe")


def _deep(folder: Path) -> None:
    (folder / "fraud/1.0.1/more").mkdir()
    (folder / "fraud/1.0.1/more/x").write_text("")


def _odd_name(folder: Path) -> None:
    (folder / "fraud/1.0.1/a b").write_text("")


def _hidden(folder: Path) -> None:
    (folder / "fraud/1.0.1/.x").write_text("")


def _many(folder: Path) -> None:
    for number in range(65):
        (folder / f"fraud/1.0.1/{number}").write_text("")


def _top(folder: Path) -> None:
    (folder / "README").write_text("")


def _version(folder: Path) -> None:
    (folder / "fraud/1.0.1").rename(folder / "fraud/newest")


def _large(folder: Path) -> None:
    with (folder / "fraud/1.0.1/model").open("wb") as file:
        file.truncate(128 * 1024 * 1024 + 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_link, "not a regular file"), (_link_folder, "not a regular file"),
        (_second, "2 bundles"), (_empty, "0 bundles"), (_pipe, "not a regular file"),
        (_deep, "belongs neither|bundles"), (_odd_name, "not a path"), (_hidden, "not a path"),
        (_many, "more than 64"), (_top, "belongs neither"), (_version, "is not NAME/VERSION"),
        (_large, "larger than"),
    ],
)  # fmt: skip
def test_another_folder_is_refused(folder: Path, change: Callable[[Path], None], told: str) -> None:
    change(folder)
    with pytest.raises(SettingsError, match=told):
        read_release(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_release(tmp_path / "nowhere")


def test_differences_are_named(folder: Path) -> None:
    release = read_release(folder)
    (folder / "fraud/1.0.1/more").write_text("")
    assert differences(folder, release) == "fraud/1.0.1/more is not the release's"
    (folder / "fraud/1.0.1/golden.json").write_text("[]")
    assert differences(folder, release) == "fraud/1.0.1/golden.json is not the release's"
    (folder / "fraud/1.0.1/golden.json").unlink()
    assert "golden.json" in differences(folder, release)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2), ("label", "fraud"), ("label", "../x:1.0.1"), ("files", {}), ("files", []),
        ("files", {"../x": [1, "0" * 64]}), ("files", {"/fraud/plan.toml": [1, "0" * 64]}),
        ("files", {"fraud/plan.toml": [-1, "0" * 64]}),
        ("files", {"fraud/plan.toml": [True, "0" * 64]}),
        ("files", {"fraud/plan.toml": [2**40, "0" * 64]}),
        ("files", {"fraud/plan.toml": [1, "0" * 63]}), ("files", {"fraud/plan.toml": 1}),
        ("files", {"other/plan.toml": [1, "0" * 64]}),
        ("files", {"fraud/../plan.toml": [1, "0" * 64]}),
        ("files", {f"fraud/1.0.1/{n}": [1, "0" * 64] for n in range(65)}), ("more", 1),
    ],
)  # fmt: skip
def test_another_document_is_refused(folder: Path, key: str, value: Any) -> None:
    document = json.loads(read_release(folder).to_json())
    with pytest.raises(ValueError, match=r"."):
        Release.from_json(json.dumps({**document, key: value}).encode())
    # Not in its canonical form: its digest would be another one.
    with pytest.raises(ValueError, match="canonical"):
        Release.from_json(json.dumps(document, indent=1).encode())


def test_a_channel_names_a_release(folder: Path) -> None:
    release = read_release(folder)
    data = channel_document("stable", release)
    assert read_channel(data, "stable") == (release.name, release.digest)
    with pytest.raises(ValueError, match="another channel"):
        read_channel(data, "canary")
    for key, value in (("release", "../x"), ("digest", "x"), ("format", 2), ("more", 1)):
        changed = json.dumps({**json.loads(data), key: value}).encode()
        with pytest.raises(ValueError, match=r"name|one|format"):
            read_channel(changed, "stable")
