"""``edge publish`` and ``edge update``: from keys to a device that decides with a release."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.edge_extra import needs_tuf
from stream_scorer.cli.main import app
from stream_scorer.edge.update.refusals import UpdateRefusedError
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.security.keys import generate
from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.edge.exported import upgraded
from tests.support.edge.update_site import UpdateSite

ROLES = ("root", "targets", "snapshot", "timestamp")
PLAN = MODELS_DIRECTORY / "fraud" / "plan.toml"


class Shell:
    """Runs the commands of an operator and of a device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.keys: list[str] = []
        for role in ROLES:
            passphrase = b"correct horse" if role == "root" else None
            generate(folder / role, passphrase)
            self.keys += [f"--{role}-key", str(folder / role)]
        (folder / "passphrase").write_bytes(b"correct horse\n")
        self.keys += ["--passphrase-file", str(folder / "passphrase")]
        self.config = folder / "settings.toml"

    def run(self, *words: str, ok: bool = True) -> Any:
        """Return the document that a command prints, or its error."""
        config = ("--config", str(self.config))
        ran = CliRunner().invoke(app, ["edge", *config, *words, "--json"])
        if not ok:
            assert ran.exception is not None
            return ran.exception
        assert ran.exception is None, (ran.output, ran.exception)
        return json.loads(ran.stdout)

    def publish(self, *words: str) -> Any:
        return self.run("publish", *words, *self.keys)

    def add(self, version: str) -> Any:
        """Publish a version of the shipped model."""
        return self.publish("add", str(self.repository), f"fraud:{version}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = upgraded(tmp_path_factory.mktemp("store"), "3.0.0", "3.0.1")
    shutil.copy(PLAN, found / "fraud")
    return found


@pytest.fixture
def shell(tmp_path: Path, store: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    with UpdateSite(made.repository, tmp_path) as site:
        made.config.write_text(
            f'[audit]\npath = "{tmp_path}/audit.log"\n'
            f'[models]\ndirectory = "{store}"\n'
            f'[edge]\ndirectory = "{tmp_path}/device"\n'
            f'[edge.update]\nurl = "{site.url}"\nca = "{site.ca}"\n'
        )
        yield made


def current(shell: Shell) -> str:
    return (shell.folder / "device/current").resolve().name


def test_a_device_follows_its_channel(shell: Shell) -> None:
    made = shell.publish("init", str(shell.repository))
    assert made["versions"] == dict.fromkeys(ROLES, 1)
    first = shell.add("3.0.0")
    root = shell.repository / "metadata/1.root.json"
    asked = shell.run("update", "--root", str(root), "--check")
    assert asked == {"updated": False, "model": "fraud:3.0.0", "digest": first["digest"]}
    assert shell.run("update")["updated"]
    assert current(shell) == first["digest"]
    assert shell.run("update") == {"updated": False, "model": None, "digest": None}
    second = shell.add("3.0.1")
    assert shell.run("update")["model"] == "fraud:3.0.1"
    assert current(shell) == second["digest"]
    assert shell.run("update", "--back")["digest"] == first["digest"]
    assert not shell.run("update")["updated"]
    state = shell.publish("refresh", str(shell.repository))
    assert state["channels"] == {"stable": second["release"]}
    assert state["due"] == []
    lines = (shell.folder / "audit.log").read_text().splitlines()
    assert [json.loads(line)["action"] for line in lines] == [
        "edge.publish.init", "edge.publish.add", "edge.publish.add",
    ]  # fmt: skip


def test_a_release_that_no_device_can_take_is_not_published(shell: Shell) -> None:
    shell.publish("init", str(shell.repository))
    plan = shell.folder / "plan.toml"
    plan.write_text("ring_cap = 0\n")
    words = ("publish", "add", str(shell.repository), "fraud:3.0.1", "--plan", str(plan))
    refused = shell.run(*words, *shell.keys, ok=False)
    assert isinstance(refused, UpdateRefusedError)
    assert refused.kind == "unfit"
    assert shell.publish("refresh", str(shell.repository))["channels"] == {}


def test_a_rotation_reaches_a_device(shell: Shell) -> None:
    shell.publish("init", str(shell.repository))
    shell.add("3.0.0")
    shell.run("update", "--root", str(shell.repository / "metadata/1.root.json"))
    generate(shell.folder / "new")
    state = shell.publish(
        "rotate", str(shell.repository), "timestamp", "--new-key", str(shell.folder / "new")
    )
    assert state["versions"] == {"root": 2, "targets": 2, "snapshot": 2, "timestamp": 3}
    assert not shell.run("update")["updated"]
    (shell.folder / "new").rename(shell.folder / "timestamp")
    shell.add("3.0.1")
    assert shell.run("update")["model"] == "fraud:3.0.1"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("update",), SettingsError),
        (("update", "--root", "nowhere"), SettingsError),
        (("update", "--back", "--check"), SettingsError),
        (("update", "--back"), EdgeError),
        (("publish", "refresh", "nowhere"), EdgeError),
        (("publish", "rotate", "nowhere", "timestamp", "--new-key", "nowhere"), SettingsError),
    ],
)
def test_what_is_wrong_is_named(
    shell: Shell, words: tuple[str, ...], kind: type[Exception]
) -> None:
    error = shell.run(*words, ok=False)
    assert type(error) is kind
    assert "\n" not in str(error)


def test_without_a_url_there_are_no_updates(shell: Shell) -> None:
    shell.config.write_text("")
    assert "edge.update.url" in str(shell.run("update", ok=False))


def test_the_table_says_what_is_due(shell: Shell) -> None:
    shell.publish("init", str(shell.repository))
    ran = CliRunner().invoke(
        app, ["edge", "publish", "refresh", str(shell.repository), *shell.keys]
    )
    assert ran.exception is None, ran.output
    assert "version 2, expires" in ran.output
    assert "sign it again" not in ran.output
    assert max(map(len, ran.output.splitlines())) <= 80


def test_a_missing_extra_is_named() -> None:
    told = r"package tuf is missing — .*\[edge\]"
    with pytest.raises(SettingsError, match=told), needs_tuf("edge update"):
        raise ModuleNotFoundError("No module named 'tuf.api'", name="tuf.api")
    with pytest.raises(ModuleNotFoundError), needs_tuf("edge update"):
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
