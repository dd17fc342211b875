"""A plan as a file or a folder: its parts, and what a signature covers."""

import os
import threading
from pathlib import Path

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.commands.sign import sign_plan_file
from stream_scorer.models.stores.deployment import (
    Deployment,
    deployed_plan,
    load_plan,
    plan_of,
    plan_trust,
)
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.security.keys import generate
from stream_scorer.settings import Models, Settings

POLICY = "[default]\nreview = 0.2\nblock = 0.7\n"
TABLE = {"default": {"review": 0.2, "block": 0.7}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "store" / "fraud"
    made.mkdir(parents=True)
    (made / "plan.toml").write_text("revision = 7\n")
    (made / "policy.toml").write_text(POLICY)
    return made


def test_a_folder_holds_the_plan_and_its_policy(folder: Path) -> None:
    assert load_plan(folder) == Plan(revision=7, policy=TABLE)
    assert plan_of(FolderStore(folder.parent), "fraud", None) == Plan(revision=7, policy=TABLE)


def test_a_plan_that_is_given_needs_no_model(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    settings = Settings(models=Models(url=f"file://{empty}"))
    assert deployed_plan(settings, Deployment(plan=folder)) == Plan(revision=7, policy=TABLE)
    with pytest.raises(ModelError, match="fraud"):
        deployed_plan(settings, Deployment())


def test_a_file_alone_has_no_parts_and_is_refused_next_to_some(folder: Path) -> None:
    alone = folder / "other.toml"
    alone.write_text("revision = 8\n[policy]\non_model_error = 'BLOCK'\n")
    assert load_plan(alone) == Plan(revision=8, policy={"on_model_error": "BLOCK"})
    with pytest.raises(SettingsError, match=r"policy\.toml next to it is part .* name the folder"):
        load_plan(folder / "plan.toml")
    (folder / "policy.toml").unlink()
    assert load_plan(folder / "plan.toml") == load_plan(folder) == Plan(revision=7)


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("policy.toml", b"[default]\nreview = 2\nblock = 3", "policy: default: review: 0 < review"),
        ("policy.toml", b"x", r"policy\.toml: not TOML"),
        ("policy.toml", b"\xff", r"policy\.toml: 'utf-8'"),
        ("policy.toml", b"# " + b"x" * 2**20, r"policy\.toml: is larger than 1 MiB"),
        ("plan.toml", b"policy = {}", r"policy: is in the plan file and in policy\.toml"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(
    folder: Path, file: str, data: bytes, message: str
) -> None:
    (folder / file).write_bytes(data)
    with pytest.raises(SettingsError, match=message) as refused:
        load_plan(folder)
    assert str(folder) in refused.value.what
    assert "\n" not in str(refused.value)
    with pytest.raises(SettingsError, match=message):
        plan_of(FolderStore(folder.parent), "fraud", None)


@pytest.mark.parametrize("name", ["plan.toml", "policy.toml", "events.toml", "plan.toml.sig"])
def test_a_pipe_in_a_folder_blocks_no_start(folder: Path, name: str) -> None:
    """No process writes to the pipe, so opening it as a file would block forever."""
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    if name.endswith(".sig"):
        assert FolderStore(folder.parent).plan_signature("fraud") is None
        return
    with pytest.raises(SettingsError, match=rf"{name}: is not a regular file"):
        load_plan(folder)
    with pytest.raises(SettingsError, match=rf"{name}: is not a regular file"):
        plan_of(FolderStore(folder.parent), "fraud", None)


def test_a_plan_may_come_from_a_pipe_that_the_user_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writing = threading.Thread(target=(tmp_path / "pipe").write_text, args=("revision = 7\n",))
    writing.start()
    assert load_plan(tmp_path / "pipe") == Plan(revision=7)
    writing.join()


@pytest.mark.parametrize("case", ["as signed", "changed", "removed", "added", "signed alone"])
def test_one_signature_covers_all_files(folder: Path, case: str, tmp_path: Path) -> None:
    made = generate(tmp_path / "key")
    trusted = Models(trusted_keys={"release": made.public_base64})
    settings = Settings(mode="production").model_copy(update={"models": trusted})
    policy = folder / "policy.toml"
    if case in ("added", "signed alone"):
        policy.unlink()
    written = sign_plan_file(settings, folder, made.private, None)
    assert written == folder / "plan.toml.sig"
    if case == "changed":
        policy.write_text(POLICY.replace("0.7", "0.8"))
    if case == "removed":
        policy.unlink()
    if case == "added":
        policy.write_text(POLICY)
    trust, store = plan_trust(settings), FolderStore(folder.parent)
    if case in ("as signed", "signed alone"):
        assert load_plan(folder, trust) == plan_of(store, "fraud", None, trust)
        return
    with pytest.raises(SettingsError, match="is not what release signed"):
        load_plan(folder, trust)
    with pytest.raises(SettingsError, match="is not what release signed"):
        plan_of(store, "fraud", None, trust)


def test_no_other_split_of_the_files_has_the_same_signature(folder: Path, tmp_path: Path) -> None:
    made = generate(tmp_path / "key")
    trusted = Models(trusted_keys={"release": made.public_base64})
    settings = Settings(mode="production").model_copy(update={"models": trusted})
    sign_plan_file(settings, folder, made.private, None)
    (folder / "plan.toml").write_text("revision = 7\n[policy.default]\nreview = 0.2\nblock = 0.7\n")
    (folder / "policy.toml").unlink()
    assert load_plan(folder).policy == TABLE
    with pytest.raises(SettingsError, match="is not what release signed"):
        load_plan(folder, plan_trust(settings))
